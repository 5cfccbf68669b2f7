"""Sliced Wasserstein distance.

    SW_p(x, y)^p = E_theta W_p(theta . x, theta . y)^p,   theta uniform on the unit sphere of R^d,

and in one dimension W_p^p is the integral over u in (0, 1) of |Q_x(u) - Q_y(u)|^p, Q the quantile functions: steps for
samples, so the integral is a finite sum, exact for any two sample sizes. Two Gaussians that differ by a shift m are
|m| / sqrt(d) apart (p = 2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.randomness import as_seed


def sliced_wasserstein(x: Tensor, y: Tensor, *, projections: int = 256, seed: int = 0, order: float = 2) -> float:
    """SW_order between the samples `x` `(N, *event)` and `y` `(M, *event)`, in the units of x.

    The directions are a function of (seed, projections, size of the event): the same for every pair compared.

    Raises:
        ValueError: for events of two sizes, no samples or some that are not finite, less than one projection, or an
            order below 1.

    References:
        Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures.
    """
    x, y = _matrix(x, "x"), _matrix(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same event size; got {x.shape[1]} and {y.shape[1]}")
    if projections < 1 or order < 1:
        raise ValueError(f"projections and order must be at least 1; got {projections} and {order}")
    generator = torch.Generator().manual_seed(as_seed(seed))
    theta = torch.randn(projections, x.shape[1], dtype=torch.float64, generator=generator, device="cpu")
    theta = (theta / theta.norm(dim=1, keepdim=True)).to(x.device)
    a, b = (theta @ x.T).sort(1).values, (theta @ y.T).sort(1).values
    n, m = a.shape[1], b.shape[1]
    if n == m:
        cost = (a - b).abs().pow(order).mean()
    else:  # both quantile functions are constant between consecutive breakpoints i/n, j/m: integers over n m
        steps = (
            torch.cat([torch.arange(n + 1, device="cpu") * m, torch.arange(1, m, device="cpu") * n])
            .unique()
            .to(x.device)
        )
        left, width = steps[:-1], steps.diff().to(a.dtype) / (n * m)
        cost = ((a[:, left // m] - b[:, left // n]).abs().pow(order) @ width).mean()
    return float(cost ** (1 / order))


class Floor(NamedTuple):
    """A metric between two exact sets of given sizes: what a perfect model would score."""

    mean: float
    std: float  # over the random splits


def sliced_wasserstein_floor(
    exact: Tensor,
    sizes: tuple[int, int] | None = None,
    *,
    repeats: int = 8,
    projections: int = 256,
    seed: int = 0,
    order: float = 2,
) -> Floor:
    """`sliced_wasserstein` between disjoint random parts of `exact` `(N, *event)`, of the given `sizes` (halves).

    Compare a model's n samples with m exact ones against the floor at sizes (n, m): the distance between finite sets is
    never 0.

    Raises:
        ValueError: for sizes or repeats below 1, or more samples than there are.
    """
    n, m = sizes or (len(exact) // 2, len(exact) // 2)
    if min(n, m, repeats) < 1 or n + m > len(exact):
        raise ValueError(f"sizes must be positive and sum to at most {len(exact)}; got {n} and {m}")
    generator = torch.Generator().manual_seed(as_seed(seed))
    values = []
    for _ in range(repeats):
        order_of = torch.randperm(len(exact), generator=generator, device="cpu")
        parts = exact[order_of[:n]], exact[order_of[n : n + m]]
        values.append(sliced_wasserstein(*parts, projections=projections, seed=seed, order=order))
    distances = torch.tensor(values, dtype=torch.float64, device="cpu")
    return Floor(float(distances.mean()), float(distances.std(correction=0)))


def _matrix(x: Tensor, name: str) -> Tensor:
    x = x.detach()
    x = x.reshape(len(x), -1).to(torch.float64) if x.ndim > 0 and len(x) else x
    if x.ndim != 2 or not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} must hold at least one finite sample, (N, *event); got shape {tuple(x.shape)}")
    return x
