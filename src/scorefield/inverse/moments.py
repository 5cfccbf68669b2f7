"""The normal law of x0 given x_t: mean and covariance.

    E[x0 | x_t] = D,    Cov[x0 | x_t] = (sigma^2 / alpha) dD/dx_t               (Tweedie, first and second order)

`FullCovariance` takes all of it, from D vector-Jacobian products, or in closed form where the denoiser is exact.
`IsotropicCovariance` takes one variance c(t) for all numbers and all x_t, from a model of it (`X0Variance`), at no
cost; what it gets wrong the weights of a particle method put right, at the price of more particles.

Only functions of the covariance are needed, f(C) v, and K = W f(C) W^T + I.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser, ExactDenoiser
from scorefield.denoisers.views import differentiable
from scorefield.inverse.linear import Factored, Innovation, Whitened, isotropic
from scorefield.randomness import Stream
from scorefield.sampling import sample
from scorefield.schedules import pad_right
from scorefield.solvers.exact_variance import GaussianVariance, X0Variance, calibrate

Function = Callable[[Any], Any]  # of an eigenvalue


def identity(value: Any) -> Any:
    return value


class Moments(abc.ABC):
    """N(mean, C) for each row, flattened: `(R, D)`."""

    mean: Tensor

    @property
    @abc.abstractmethod
    def spectrum(self) -> Tensor:
        """The eigenvalues of C, `(R, D)`."""

    @abc.abstractmethod
    def apply(self, f: Function, v: Tensor) -> Tensor:
        """f(C) v, of vectors `(R, D)` or matrices `(R, D, K)`."""

    @abc.abstractmethod
    def innovation(self, system: Whitened, f: Function = identity) -> Innovation:
        """W f(C) W^T + I."""

    @abc.abstractmethod
    def determined(self, system: Whitened) -> bool:
        """Whether the innovation knows its determinant."""

    @abc.abstractmethod
    def take(self, index: Tensor) -> Moments:
        """The rows of those numbers."""


class Full(Moments):
    """C = U diag(values) U^T: `(R, D)`, `(R, D, D)`."""

    def __init__(self, mean: Tensor, values: Tensor, basis: Tensor) -> None:
        self.mean, self.values, self.basis = mean, values, basis

    @property
    def spectrum(self) -> Tensor:
        return self.values

    def apply(self, f: Function, v: Tensor) -> Tensor:
        columns = v if v.ndim == 3 else v[..., None]
        found = torch.bmm(self.basis, f(self.values)[..., None] * torch.bmm(self.basis.mT, columns))
        return found if v.ndim == 3 else found[..., 0]

    def innovation(self, system: Whitened, f: Function = identity) -> Innovation:
        root = torch.bmm(system.matrix, self.basis * f(self.values).sqrt()[:, None])
        return Factored(torch.bmm(root, root.mT) + torch.eye(system.size, dtype=root.dtype, device=root.device))

    def determined(self, system: Whitened) -> bool:
        return True

    def take(self, index: Tensor) -> Full:
        return Full(self.mean[index], self.values[index], self.basis[index])


class Isotropic(Moments):
    """C = c I, the same for all rows."""

    def __init__(self, mean: Tensor, c: float) -> None:
        self.mean, self.c = mean, c

    @property
    def spectrum(self) -> Tensor:
        return torch.full_like(self.mean, self.c)

    def apply(self, f: Function, v: Tensor) -> Tensor:
        return f(torch.tensor(self.c, dtype=torch.float64, device="cpu")).to(v) * v

    def innovation(self, system: Whitened, f: Function = identity) -> Innovation:
        c = float(f(torch.tensor(self.c, dtype=torch.float64, device="cpu")))
        return isotropic(system, c)

    def determined(self, system: Whitened) -> bool:
        return system.spectrum is not None

    def take(self, index: Tensor) -> Isotropic:
        return Isotropic(self.mean[index], self.c)


class Covariance(abc.ABC):
    """Where Cov[x0 | x_t] comes from."""

    def vjps(self, dim: int) -> int:
        """Vector-Jacobian products for one evaluation."""
        return 0

    def elements(self, dim: int) -> int:
        """Numbers held for a row."""
        return dim

    @abc.abstractmethod
    def moments(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, **cond: Any) -> Moments:
        """Of x0 given `x_t` `(R, *event)`, float64."""


@dataclass(frozen=True)
class FullCovariance(Covariance):
    """Tweedie's covariance, all of it: for events of up to some hundred numbers.

    The Jacobian of a network is made symmetric, and negative eigenvalues are set to 0.

    Args:
        bounded: hold the eigenvalues below (sigma / alpha)^2 as well. No log-concave law has larger ones; one with
            several modes does, and needs them to move between these.
    """

    bounded: bool = False

    def vjps(self, dim: int) -> int:
        return dim

    def elements(self, dim: int) -> int:
        return dim**2

    def moments(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, **cond: Any) -> Moments:
        mean, covariance = dense_covariance(denoiser, x_t, t, **cond)
        values, basis = torch.linalg.eigh(covariance)
        alpha, sigma = denoiser.schedule(t)
        most = float((sigma / alpha) ** 2) if self.bounded else None
        return Full(mean.double().flatten(1), values.clamp(min=0.0, max=most), basis)


@dataclass(frozen=True)
class IsotropicCovariance(Covariance):
    """One variance for all numbers and all x_t, c(t).

    Args:
        variance: that of Gaussian data of the denoiser's data_std unless given. A trained model of pictures knows x0
            far better than that: take `IsotropicCovariance.measured`, or what `solvers.calibrate` says of your data.
    """

    variance: X0Variance = field(default_factory=GaussianVariance)

    @classmethod
    def measured(
        cls, denoiser: Denoiser, event_shape: Sequence[int], *, n: int = 16, nfe: int = 20, seed: int = 0, **cond: Any
    ) -> IsotropicCovariance:
        """c(t) as the mean squared error of the denoiser on n samples of its own: n (nfe + 24) evaluations, once."""
        x0 = sample(denoiser, (n, *event_shape), nfe=nfe, seed=seed, cond=cond).x
        return cls(calibrate(denoiser, x0, generator=Stream(seed, torch.arange(n, device=x0.device)), **cond))

    def moments(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, **cond: Any) -> Moments:
        c = self.variance.at(denoiser, t.reshape(1))
        return Isotropic(denoiser(x_t, t, **cond).double().flatten(1), float(c.mean()))


def dense_covariance(denoiser: Denoiser, x_t: Tensor, t: Tensor, **cond: Any) -> tuple[Tensor, Tensor]:
    """(E[x0 | x_t] `(R, *event)`, Cov[x0 | x_t] `(R, D, D)` float64 and symmetric): one forward, D reverse passes.

    Raises:
        ValueError: where alpha = 0 and D does not depend on x_t, unless the law knows its covariance.
    """
    alpha, sigma = denoiser.schedule(t)
    if isinstance(denoiser, ExactDenoiser) and hasattr(denoiser.distribution, "posterior_covariance"):
        law: Any = denoiser.distribution
        covariance = law.posterior_covariance(x_t, alpha, sigma).double()
        return denoiser(x_t, t), covariance
    if bool((alpha == 0).any()):
        raise ValueError("the covariance can't be had from D where alpha = 0, at t = 1: evaluate it at a smaller t")
    with differentiable():
        x = x_t.detach().clone().requires_grad_()
        mean = denoiser(x, t, **cond)
        flat = mean.flatten(1)
        rows = [
            torch.autograd.grad(flat[:, i].sum(), x, retain_graph=i + 1 < flat.shape[1])[0].flatten(1)
            for i in range(flat.shape[1])
        ]
    jacobian = torch.stack(rows, 1).double()
    covariance = pad_right(sigma**2 / alpha, jacobian) * (jacobian + jacobian.mT) / 2
    return mean.detach(), covariance
