"""Linear algebra of a linear measurement with normal noise, one system for each row.

Divided by the noise, y = A x0 + n is u = W x0 + n with n ~ N(0, I): W = diag(1/noise_std) A. For x0 ~ N(m, C),

    u ~ N(W m, K),   K = W C W^T + I,
    E[x0 | u] = m + C W^T K^-1 (u - W m),

and a draw z of N(m, C) becomes one of N(m, C) given u by the same gain (Matheron's rule, "perturb and correct"):

    z + C W^T K^-1 (u - W z - n),   n ~ N(0, I).

`Factored` has K as a matrix and its determinant; `Isotropic` has C = c I and the eigenvalues of W W^T, found once;
`Iterative` has neither and solves by conjugate gradients, each row until its own residual is small.
"""

from __future__ import annotations

import abc
import math
from functools import cached_property

import torch
from torch import Tensor

from scorefield.inverse.gram import GramSpectrum
from scorefield.inverse.measurement import GaussianNoise, Likelihood
from scorefield.inverse.operators import LinearOperator, conjugate_gradients

HALF_LOG_2PI = math.log(2 * math.pi) / 2


def linear_gaussian(likelihood: Likelihood, method: str) -> GaussianNoise:
    """The likelihood, refused unless Gaussian with a linear operator.

    Raises:
        ValueError: for any other, with what takes it.
    """
    if not isinstance(likelihood, GaussianNoise) or not isinstance(likelihood.operator, LinearOperator):
        got = type(likelihood.operator).__name__ if isinstance(likelihood, GaussianNoise) else type(likelihood).__name__
        raise ValueError(
            f"{method} needs a GaussianNoise likelihood with a LinearOperator; got {got}. "
            "LaplaceBridge() takes any likelihood with a gradient."
        )
    return likelihood


class Whitened:
    """u = W x0 + n, n ~ N(0, I), for rows of a GaussianNoise likelihood; x0 `(R, D)` and u `(R, M)` flattened.

    Args:
        likelihood: of B observations, its operator linear.
        row: `(R,)` int64: which observation each row has.
        dtype: of the arithmetic.
    """

    def __init__(self, likelihood: GaussianNoise, row: Tensor, dtype: torch.dtype = torch.float64) -> None:
        self.own = likelihood.rows(row)
        operator = likelihood.operator
        assert isinstance(operator, LinearOperator)
        self.operator, self.row, self.dtype = operator, row, dtype
        self.size = math.prod(operator.output_shape)
        std = torch.as_tensor(self.own.noise_std, dtype=dtype, device=row.device)
        by_row = std.ndim > 0 and std.shape == self.own.y.shape and len(std) > 0  # each row its own noise
        if not std.ndim:
            self.std = std.expand(1, self.size)
        else:
            self.std = std.reshape(len(std) if by_row else 1, self.size)
        self.spectrum = likelihood.spectrum
        self.log_scale = -self.std.log().sum(1)  # (1,) or (R,): log p(y) = log p(u) + log_scale
        self.u = self.own.y.to(row.device, dtype).flatten(1) / self.std

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def matrix(self) -> Tensor:
        """W, `(R, M, D)`; a view of one matrix where the rows share their noise."""
        dense = self.operator.dense().to(self.u)
        w = dense / self.std[:, :, None]
        return w.expand(len(self.row), -1, -1)

    def forward(self, x: Tensor) -> Tensor:
        """W x."""
        return self.operator(x.reshape(len(x), *self.operator.event_shape)).flatten(1) / self.std

    def adjoint(self, v: Tensor) -> Tensor:
        """W^T v."""
        return self.operator.adjoint((v / self.std).reshape(len(v), *self.operator.output_shape)).flatten(1)

    def residual(self, x: Tensor) -> Tensor:
        """u - W x."""
        return self.u - self.forward(x)


class Innovation(abc.ABC):
    """K = W C W^T + I of each row."""

    constant: Tensor  # () or (R,): -(log det K + M log 2 pi) / 2; 0 for `Iterative`, whose rows share it
    residual: Tensor | None = None  # (R,), the largest of the solves so far, where they are iterative

    @abc.abstractmethod
    def solve(self, b: Tensor) -> Tensor:
        """K^-1 b, `(R, M)`."""

    def log_prob(self, r: Tensor, solved: Tensor | None = None) -> Tensor:
        """log N(r; 0, K), `(R,)`; `solved`: K^-1 r, if it is known."""
        solved = self.solve(r) if solved is None else solved
        return self.constant - (r * solved).sum(1) / 2


class Factored(Innovation):
    """K `(R, M, M)` by its Cholesky factor."""

    def __init__(self, k: Tensor) -> None:
        self.factor = torch.linalg.cholesky(k)
        self.constant = -self.factor.diagonal(dim1=1, dim2=2).log().sum(1) - k.shape[1] * HALF_LOG_2PI

    def solve(self, b: Tensor) -> Tensor:
        return torch.cholesky_solve(b[..., None], self.factor)[..., 0]


class Isotropic(Innovation):
    """K = c W W^T + I, by the eigenvalues of W W^T; c a number, or one for each row `(R, 1)`."""

    def __init__(self, system: Whitened, seen: GramSpectrum, c: Tensor | float) -> None:
        values = c * seen.values.to(system.u)
        self.seen, self.share = seen, values / (values + 1)
        self.constant = -torch.log1p(values).sum(-1) / 2 - system.size * HALF_LOG_2PI

    def solve(self, b: Tensor) -> Tensor:
        return b - self.seen.back(self.seen.to(b) * self.share)


class Iterative(Innovation):
    """K = c W W^T + I by conjugate gradients; c as above."""

    def __init__(self, system: Whitened, c: Tensor | float, tolerance: float = 1e-6, limit: int = 200) -> None:
        self.system, self.c, self.tolerance, self.limit = system, c, tolerance, limit
        self.constant = torch.zeros((), dtype=torch.float64, device="cpu")

    def solve(self, b: Tensor) -> Tensor:
        def product(v: Tensor) -> Tensor:
            return self.c * self.system.forward(self.system.adjoint(v)) + v

        x, residual, _ = conjugate_gradients(product, b, tolerance=self.tolerance, iterations=self.limit)
        self.residual = residual if self.residual is None else torch.maximum(self.residual, residual)
        return x


def isotropic(system: Whitened, c: Tensor | float) -> Innovation:
    """K = c W W^T + I, by eigenvalues where they can be had; c a number, or one for each row `(R, 1)`."""
    return Iterative(system, c) if system.spectrum is None else Isotropic(system, system.spectrum, c)


def worst(residual: Tensor | None, innovation: Innovation) -> Tensor | None:
    """The larger of what was seen so far and what `innovation` saw, `(R,)`."""
    if innovation.residual is None or residual is None:
        return innovation.residual if residual is None else residual
    return torch.maximum(residual, innovation.residual)
