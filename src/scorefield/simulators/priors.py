"""Priors as maps: theta of u ~ N(0, I), number by number.

A model of u has the prior's support whatever it learns, and the prior's own denoiser is known at every noise level,

    E[u | x_t] = alpha x_t / (alpha^2 + sigma^2).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.tensors import as_tensor


class Prior(abc.ABC):
    """p(theta) of D independent numbers."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """D."""

    @abc.abstractmethod
    def theta(self, u: Tensor) -> Tensor:
        """`(..., D)` of u, increasing in each number."""

    @abc.abstractmethod
    def latent(self, theta: Tensor) -> Tensor:
        """u of theta `(..., D)`.

        Raises:
            ValueError: for a theta outside the support.
        """


def _ends(prior: object, one: str, two: str) -> None:
    pair = [torch.atleast_1d(as_tensor(getattr(prior, name), torch.float64)) for name in (one, two)]
    first, second = torch.broadcast_tensors(*pair)
    if first.ndim != 1 or not bool(torch.isfinite(torch.stack([first, second])).all()):
        raise ValueError(f"{one} and {two} must be finite, of shape (D,); got {tuple(first.shape)}")
    object.__setattr__(prior, one, first)
    object.__setattr__(prior, two, second)


@dataclass(frozen=True, eq=False)
class Uniform(Prior):
    """Between `low` and `high` `(D,)`: theta = low + (high - low) Phi(u), Phi the normal distribution function.

    Raises:
        ValueError: for ends that are not finite, of other shapes, or a low that is not below its high.
    """

    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        _ends(self, "low", "high")
        if not bool((self.low < self.high).all()):
            raise ValueError("low must be below high, number by number")

    @property
    def dim(self) -> int:
        return len(self.low)

    def theta(self, u: Tensor) -> Tensor:
        low, high = self.low.to(u.device), self.high.to(u.device)
        inside = low + (high - low) * torch.special.ndtr(u.double())
        return torch.minimum(torch.maximum(inside.to(u), low.to(u)), high.to(u))

    def latent(self, theta: Tensor) -> Tensor:
        low, high = self.low.to(theta.device), self.high.to(theta.device)
        share = (theta.double() - low) / (high - low)
        if not bool(((share > -1e-6) & (share < 1 + 1e-6)).all()):
            raise ValueError("theta must lie inside the prior: between low and high")
        return torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9)).to(theta)


@dataclass(frozen=True, eq=False)
class Normal(Prior):
    """theta = mean + std u, each `(D,)`.

    Raises:
        ValueError: for numbers that are not finite, of other shapes, or a std that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        _ends(self, "mean", "std")
        if not bool((self.std > 0).all()):
            raise ValueError("std must be positive")

    @property
    def dim(self) -> int:
        return len(self.mean)

    def theta(self, u: Tensor) -> Tensor:
        return (self.mean.to(u.device) + self.std.to(u.device) * u.double()).to(u)

    def latent(self, theta: Tensor) -> Tensor:
        return ((theta.double() - self.mean.to(theta.device)) / self.std.to(theta.device)).to(theta)
