"""Sliced Wasserstein distance.

    SW_p(x, y)^p = E_theta W_p(theta . x, theta . y)^p,   theta uniform on the unit sphere of R^d,

and in one dimension W_p^p is the integral over u in (0, 1) of |Q_x(u) - Q_y(u)|^p, Q the quantile functions: steps for
samples, so the integral is a finite sum, exact for any two sample sizes. Two Gaussians that differ by a shift m are
|m| / sqrt(d) apart (p = 2).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.metrics.evidence import Evidence, normal, rooted
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import pair
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
    theta = _directions(x.shape[1], projections, order, seed).to(x.device)
    cost = _costs((theta @ x.T).sort(1).values, (theta @ y.T).sort(1).values, order).mean()
    return float(cost ** (1 / order))


def sliced(
    x: Tensor,
    y: Tensor,
    *,
    features: Features | None = None,
    spare: Tensor | None = None,
    projections: int = 256,
    order: float = 2,
    groups: int = 10,
    permutations: int = 199,
    seed: int = 0,
) -> Evidence:
    """The sliced Wasserstein distance of samples `x` `(n, *event)` to real data `y` `(m, *event)`, as evidence.

    `.value` is `sliced_wasserstein`. `.extrapolated` is without the bias of SW_p^p of order 1/n, by the grouped
    jackknife, and `.interval` a normal one about that, to the power 1/p, with the variance

        var(phi) / n + var(psi) / m + var_theta(W_p^p) / projections,

    phi and psi the means over directions of the optimal potentials, phi'(x) = c'(x, T(x)), at no cost beyond the sort.
    The last term is for the directions: the interval is about the mean over the whole sphere. It takes laws that
    differ; at the null use `.p_value`, of the permutation test.

    Args:
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.
        spare: further real data, so that the floor is had at the sizes (n, m).
        groups: of the jackknife.

    Raises:
        ValueError: for less than four samples, sets of two event sizes, less than one projection, an order below 1, or
            less than two groups.

    References:
        del Barrio, Giné & Utzet 2005, Asymptotics for L2 functionals of the empirical quantile process; Manole,
        Balakrishnan & Wasserman 2022, Minimax confidence intervals for the sliced Wasserstein distance.
    """
    sets = pair(x, y, features, spare, least=4)
    theta = _directions(sets.x.shape[1], projections, order, seed)
    (a, of_a), (b, of_b) = ((theta @ s.T).sort(1) for s in (sets.x, sets.y))
    costs = _costs(a, b, order)
    variance = float(costs.var(correction=0)) / projections
    for one, place, other in ((a, of_a, b), (b, of_b, a)):
        potential = torch.zeros_like(one).scatter(1, place, _potential(one, other, order)).mean(0)
        variance += float(potential.var()) / len(potential)

    def cost(x: Tensor, y: Tensor) -> float:
        return float(_costs((theta @ x.T).sort(1).values, (theta @ y.T).sort(1).values, order).mean())

    def distance(x: Tensor, y: Tensor) -> float:
        return cost(x, y) ** (1 / order)

    whole = cost(sets.x, sets.y)
    limit = functools.cache(lambda: max(whole - sets.bias(cost, groups=groups, seed=seed), 0.0))
    return Evidence(
        name="sliced",
        value=whole ** (1 / order),
        n=sets.n,
        features=sets.features,
        bounds=lambda level: rooted(normal(limit(), variance**0.5, low=0.0), order)(level),
        limit=lambda: limit() ** (1 / order),
        null=lambda: sets.floor(distance, seed=seed),
        p=lambda: sets.permuted(distance, repeats=permutations, seed=seed),
    )


def _directions(d: int, projections: int, order: float, seed: int) -> Tensor:
    if projections < 1 or order < 1:
        raise ValueError(f"projections and order must be at least 1; got {projections} and {order}")
    generator = torch.Generator(device="cpu").manual_seed(as_seed(seed))
    theta = torch.randn(projections, d, dtype=torch.float64, generator=generator, device="cpu")
    return theta / theta.norm(dim=1, keepdim=True)


def _costs(a: Tensor, b: Tensor, order: float) -> Tensor:
    """W_order^order of each row, sorted `(L, n)` and `(L, m)`."""
    n, m = a.shape[1], b.shape[1]
    if n == m:
        return (a - b).abs().pow(order).mean(1)
    # both quantile functions are constant between consecutive breakpoints i/n, j/m: integers over n m
    steps = (
        torch.cat([torch.arange(n + 1, device="cpu") * m, torch.arange(1, m, device="cpu") * n]).unique().to(a.device)
    )
    left, width = steps[:-1], steps.diff().to(a.dtype) / (n * m)
    return (a[:, left // m] - b[:, left // n]).abs().pow(order) @ width


def _potential(a: Tensor, b: Tensor, order: float) -> Tensor:
    """The optimal potential at each of a `(L, n)`, sorted: from one to the next the cost to T of the gap between."""
    n, m = a.shape[1], b.shape[1]
    cut = torch.arange(1, n, device=a.device) * m  # over n: where in b the mass of the first i of a ends
    target = (b[:, (cut - 1) // n] + b[:, (cut // n).clamp(max=m - 1)]) / 2
    steps = (a[:, 1:] - target).abs().pow(order) - (a[:, :-1] - target).abs().pow(order)
    return torch.cat([torch.zeros_like(a[:, :1]), steps.cumsum(1)], 1)


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
