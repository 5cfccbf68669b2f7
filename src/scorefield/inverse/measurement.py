"""What was measured, and how well: log p(y | x0).

    y = A(x0) + n,  n ~ N(0, diag(noise_std^2)):   log p(y | x0) = -chi2 / 2 - sum log(noise_std) - M/2 log 2 pi,
    chi2 = sum ((y - A(x0)) / noise_std)^2,

and at the truth chi2 is that of M degrees of freedom: about M, give or take sqrt(2 M).
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from scorefield.data import Transform
from scorefield.inverse.gram import GramSpectrum, gram_spectrum
from scorefield.inverse.operators.algebra import Affine, Diagonal, broadcast
from scorefield.inverse.operators.base import LinearOperator, Operator
from scorefield.inverse.operators.base import scale as scaled
from scorefield.inverse.operators.interop import as_operator
from scorefield.randomness import Noise
from scorefield.tensors import as_tensor


class Likelihood(abc.ABC):
    """p(y | x0) of B observations y, one for each row of x0 `(B, *event)`."""

    event_shape: tuple[int, ...]

    @abc.abstractmethod
    def __len__(self) -> int:
        """B."""

    @abc.abstractmethod
    def log_prob(self, x0: Tensor) -> Tensor:
        """log p(y | x0) in nats, `(B,)`."""

    @abc.abstractmethod
    def rows(self, index: Tensor) -> Self:
        """The observations of those numbers `(n,)`, in that order, with repetitions."""


def take(likelihood: Any) -> None:
    """Makes a new likelihood's `operator` an Operator, and its `y` what that measures, or says what is wrong.

    A matrix of torch, NumPy or SciPy is an operator on vectors; y may be an array or a list, of integers too, and what
    the operator's own `measured` takes.

    Raises:
        ValueError: for what is no operator, and a y of another shape, complex or not finite.
    """
    operator = _operator(likelihood.operator)
    y = operator.measured(as_tensor(likelihood.y))
    y = y if y.is_floating_point() or y.is_complex() else y.to(torch.get_default_dtype())
    shape = tuple(operator.output_shape)
    if not y.is_floating_point() or y.ndim == 0 or tuple(y.shape[1:]) != shape:
        want = ", ".join(["B", *map(str, shape)])
        raise ValueError(f"y must be real numbers of shape ({want}); got {y.dtype}, {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y must be finite; got NaN or infinity")
    object.__setattr__(likelihood, "operator", operator)
    object.__setattr__(likelihood, "y", y)


def _operator(given: Any) -> Operator:
    if isinstance(given, Operator):
        return given
    if len(getattr(given, "shape", ())) != 2:
        raise ValueError(
            "operator must be an Operator, or a matrix (M, D); operators.as_operator(f, event_shape) makes one of a "
            f"function; got {type(given).__name__}"
        )
    return as_operator(given, (given.shape[1],))


@dataclass(frozen=True, eq=False)
class GaussianNoise(Likelihood):
    """Independent normal noise of known size on every number measured.

    Args:
        operator: A; or a matrix.
        y: `(B, *output_shape)`: B observations, a tensor, an array or a list; complex where A gives pairs.
        noise_std: in the units of y; one, or one for each number, of the shape of `output_shape` or of y. Positive.

    Raises:
        ValueError: for a y of another shape or not finite, or a noise_std of another shape or not positive and finite.
    """

    operator: Operator
    y: Tensor
    noise_std: Tensor | float

    def __post_init__(self) -> None:
        take(self)
        shape = self.operator.output_shape
        std = as_tensor(self.noise_std)
        if not bool(((std > 0) & torch.isfinite(std)).all()):
            raise ValueError(f"noise_std must be positive and finite; got a smallest of {float(std.min()):g}")
        if std.ndim and std.shape not in (self.y.shape, self.y.shape[1:]):
            raise ValueError(
                f"noise_std must be a number, or have shape {tuple(shape)} or {tuple(self.y.shape)}; "
                f"got {tuple(std.shape)}"
            )

    @property
    def event_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.operator.event_shape

    def __len__(self) -> int:
        return len(self.y)

    def residual(self, x0: Tensor) -> Tensor:
        """(y - A(x0)) / noise_std, `(B, *output_shape)`: at the truth, standard normal."""
        std = self.noise_std.to(x0) if isinstance(self.noise_std, Tensor) else self.noise_std
        return (self.y.to(x0) - self.operator(x0)) / std

    def chi2(self, x0: Tensor) -> Tensor:
        """`(B,)`; of M = prod(output_shape) degrees of freedom at the truth."""
        return self.residual(x0).flatten(1).square().sum(1)

    def log_prob(self, x0: Tensor) -> Tensor:
        logs = as_tensor(self.noise_std, dtype=torch.float64).log().expand(self.y.shape).flatten(1).sum(1)
        size = math.prod(self.operator.output_shape)
        return -self.chi2(x0) / 2 - logs.to(x0) - size / 2 * math.log(2 * math.pi)

    def standardized(self, scale: Tensor | float, shift: Tensor | float = 0.0) -> GaussianNoise:
        """The same likelihood as a function of x, where x0 = scale x + shift: a model's units for physical ones.

            y - A x0 = (y - A shift) - (A scale) x,    for A linear; else of the operator x -> A(scale x + shift).

        y and noise_std stay in the units they were measured in.

        Args:
            scale, shift: numbers, or of shapes that broadcast to `event_shape`, (C, 1, 1) for channels.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        shape = tuple(self.operator.event_shape)
        parts = []
        for name, value in (("scale", scale), ("shift", shift)):
            tensor = as_tensor(value, torch.float64)
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} must be finite; got NaN or infinity")
            parts.append(broadcast(name, tensor, shape))
        factor, offset = parts
        if not isinstance(self.operator, LinearOperator):
            return replace(self, operator=self.operator @ Affine(factor, offset))
        uniform = as_tensor(scale).numel() == 1  # a number keeps what the operator knows of its singular values
        operator = scaled(self.operator, float(scale)) if uniform else self.operator @ Diagonal(factor, shape)
        moved = self.y.double() - self.operator(offset[None].to(self.y.device))
        return replace(self, operator=operator, y=moved.to(self.y.dtype))

    def for_model(self, transform: Transform) -> GaussianNoise:
        """The likelihood in the units of a model whose data went through `transform`, affine as all of `data` are."""
        zero = torch.zeros(1, *self.operator.event_shape, dtype=torch.float64, device="cpu")
        shift = transform.inverse(zero)
        return self.standardized(_number(transform.inverse(zero + 1) - shift), _number(shift))

    @cached_property
    def spectrum(self) -> GramSpectrum | None:
        """Of diag(1/noise_std) A, found once; None where it can't be, or where each observation has its own noise."""
        std = as_tensor(self.noise_std, dtype=torch.float64)
        return gram_spectrum(self.operator, std) if std.ndim == 0 or std.shape != self.y.shape else None

    def rows(self, index: Tensor) -> GaussianNoise:
        own = isinstance(self.noise_std, Tensor) and self.noise_std.shape == self.y.shape and self.noise_std.ndim
        index = index.to(self.y.device)
        std = self.noise_std[index] if own and isinstance(self.noise_std, Tensor) else self.noise_std
        return replace(self, y=self.y[index], noise_std=std)


MEASURED = 2**31 - 1  # the draw of a simulated measurement's noise, the last there is: beyond those of any sampler


def simulate(
    operator: Operator, truth: Tensor, noise_std: Tensor | float, *, seed: int = 0, index: Tensor | None = None
) -> GaussianNoise:
    """The likelihood of y = A(truth) + n, measured here: n of row i is a function of (seed, index[i]) alone.

    Args:
        truth: `(B, *event_shape)`.
        index: `(B,)` int64, the numbers of the truths; 0, 1, ... unless given.
    """
    operator = _operator(operator)
    index = torch.arange(len(truth), device=truth.device) if index is None else index
    z = Noise(seed, index, tuple(operator.output_shape), truth.dtype).normal(MEASURED)
    std = noise_std.to(truth) if isinstance(noise_std, Tensor) else noise_std
    return GaussianNoise(operator, operator(truth) + std * z, noise_std)


def _number(values: Tensor) -> Tensor | float:
    """One number where all are the same."""
    first = values.flatten()[0]
    return float(first) if bool((values == first).all()) else values[0]
