"""What the claims have in common: a row of the table, laws, distances and models with a known error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import scorefield as sf
from scorefield import metrics

f64 = torch.float64


class Claim(NamedTuple):
    """A row: what is said, what was measured, and what is to be thought of it."""

    claim: str
    measured: str
    verdict: str


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Over seeds: the mean and its standard error."""
    x = torch.tensor(values, dtype=f64)
    return float(x.mean()), float(x.std() / math.sqrt(len(x))) if len(x) > 1 else math.nan


def shown(values: list[float], digits: int = 4) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def distances(law: sf.Distribution, draw: Callable[[int, int], Tensor], *, n: int, seeds: int) -> list[float]:
    """Sliced W2 of `draw(n, seed)` to as many exact samples, one for each seed."""
    values = []
    for seed in range(seeds):
        exact = law.sample(n, generator=torch.Generator().manual_seed(900 + seed))
        values.append(metrics.sliced_wasserstein(draw(n, seed), exact.to(f64)))
    return values


def floor(law: sf.Distribution, *, n: int, seeds: int) -> list[float]:
    """The same of exact samples."""
    return distances(
        law, lambda k, s: law.sample(k, generator=torch.Generator().manual_seed(500 + s)), n=n, seeds=seeds
    )


class Wrong(sf.Denoiser):
    """A denoiser whose score is off by `error(x_t, t)`: D + sigma^2 / alpha error."""

    def __init__(self, right: sf.Denoiser, error: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._like(right)
        self.right, self.error = right, error

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        t = torch.as_tensor(t, dtype=f64)
        alpha, sigma = self.schedule(t)
        scale = (sigma**2 / alpha).to(x_t.dtype)
        return self.right(x_t, t) + scale.reshape(-1, *[1] * (x_t.ndim - 1)) * self.error(x_t, t)


class Guided(sf.Denoiser):
    """D_u + w (D_c - D_u)."""

    def __init__(self, conditional: sf.Denoiser, unconditional: sf.Denoiser, weight: float) -> None:
        super().__init__()
        self._like(unconditional)
        self.conditional, self.unconditional, self.weight = conditional, unconditional, weight

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        plain = self.unconditional(x_t, t)
        return plain + self.weight * (self.conditional(x_t, t) - plain)


def mixture() -> sf.GaussianMixture:
    """Three components of unequal weight in the plane."""
    return sf.GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=f64),
        torch.tensor([[1.0, 0.0], [-0.8, 0.9], [-0.3, -1.1]], dtype=f64),
        torch.full((3, 2), 0.04, dtype=f64),
    )
