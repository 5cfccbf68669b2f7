"""Maximum mean discrepancies: the distance of two laws' means in the space of a kernel k,

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),

estimated without bias by the means over pairs of different samples. Its floor is 0 at any sizes, and single values are
negative. With h_i = mean_{j != i} k(x_i, x_j) - mean_j k(x_i, y_j), and likewise h'_i of the y, the first term of
Hoeffding's decomposition has the variance 4 var(h) / n + 4 var(h') / m, which is that of MMD^2 where the laws differ;
at the null it is 0 there and the interval means nothing. The permutation test is exact at any sizes, and costs one
matrix product for all regroupings at once: sum_{ij} k_ij w_i w_j for columns w of zeros and ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.metrics.evidence import Evidence, normal
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import Pair, generator, pair, rank

Kernel = Callable[[Tensor, Tensor], Tensor]
"""`kernel(a, b)` of `(N, d)` and `(M, d)` is `(N, M)`, symmetric and positive semi-definite."""

BLOCK = 1024  # rows of the kernel matrix at once
FOR_THE_SCALE = 1000  # samples whose distances the median is of


def kernel_distance(
    x: Tensor,
    y: Tensor,
    *,
    features: Features | None = None,
    spare: Tensor | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> Evidence:
    """The kernel distance of samples `x` `(n, *event)` to real data `y`: MMD^2 with k(a, b) = (a . b / d + 1)^3.

    With Inception features it is the KID; over all pairs here, not averaged over subsets. It compares the moments up to
    the third, and has no bias. The interval is normal with Hoeffding's variance.

    Args:
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.
        spare: further real data for the floor.

    Raises:
        ValueError: for less than two samples, or sets of two event sizes.

    References:
        Bińkowski et al. 2018, Demystifying MMD GANs.
    """
    sets = pair(x, y, features, spare)
    return _evidence("kernel_distance", sets, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, permutations, seed)


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    kernel: Kernel | None = None,
    bandwidth: float | None = None,
    features: Features | None = None,
    spare: Tensor | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> Evidence:
    """MMD^2 of samples `x` `(n, *event)` to real data `y`: 0 for equal laws alone, if the kernel is characteristic.

    Args:
        kernel: of `(N, d)` and `(M, d)`; unless given the mean of the Gaussian kernels exp(-|a - b|^2 / (2 h^2)) at
            half, once and twice the bandwidth.
        bandwidth: h; the median distance of pooled samples unless given, which no regrouping changes.
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.
        spare: further real data for the floor.

    Raises:
        ValueError: for less than two samples, sets of two event sizes, or a bandwidth that is not positive.

    References:
        Gretton et al. 2012, A kernel two-sample test; Sutherland et al. 2017, Generative models and model criticism.
    """
    sets = pair(x, y, features, spare)
    if bandwidth is not None and not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive; got {bandwidth}")
    if kernel is None:
        h = median_distance(torch.cat([sets.x, sets.y]), seed) if bandwidth is None else bandwidth
        kernel = gaussian(h / 2, h, 2 * h)
    return _evidence("mmd", sets, kernel, permutations, seed)


def gaussian(*bandwidths: float) -> Kernel:
    """The mean of the Gaussian kernels of these bandwidths."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = torch.cdist(a, b).square()
        return torch.stack([torch.exp(-squared / (2 * h**2)) for h in bandwidths]).mean(0)

    return kernel


def median_distance(x: Tensor, seed: int = 0) -> float:
    """The median of the distances between at most 1,000 of the samples `(N, d)`; 1 where they are one point."""
    some = x[torch.randperm(len(x), generator=generator(seed), device="cpu")[:FOR_THE_SCALE]]
    median = float(torch.pdist(some).median()) if len(some) > 1 else 0.0
    return median or 1.0


def _evidence(name: str, sets: Pair, kernel: Kernel, permutations: int, seed: int) -> Evidence:
    n, m = sets.n
    pooled = torch.cat([sets.x, sets.y])
    of_x = torch.zeros(n + m, 1, dtype=torch.float64, device="cpu")
    of_x[:n] = 1
    sums = _sums(pooled, kernel, torch.cat([of_x, 1 - of_x], 1))  # of k(i, j) over j != i, by set
    value = float(_unbiased(of_x, sums[:, :1], sums.sum(1, keepdim=True), n, m))
    own = torch.cat([sums[:n, 0] / (n - 1), sums[n:, 1] / (m - 1)])
    other = torch.cat([sums[:n, 1] / m, sums[n:, 0] / n])
    influence = own - other
    error = 2 * math.sqrt(float(influence[:n].var()) / n + float(influence[n:].var()) / m)

    def p() -> float:
        w = torch.zeros(n + m, permutations, dtype=torch.float64, device="cpu")
        for column, order in enumerate(sets.permutations(permutations, seed)):
            w[order[:n], column] = 1
        return rank(value, _unbiased(w, _sums(pooled, kernel, w), sums.sum(1, keepdim=True), n, m))

    def between(a: Tensor, b: Tensor) -> float:
        both = torch.cat([a, b])
        w = torch.zeros(len(both), 1, dtype=torch.float64, device="cpu")
        w[: len(a)] = 1
        s = _sums(both, kernel, torch.cat([w, torch.ones_like(w)], 1))
        return float(_unbiased(w, s[:, :1], s[:, 1:], len(a), len(b)))

    return Evidence(
        name=name,
        value=value,
        n=sets.n,
        features=sets.features,
        bounds=normal(value, error, low=0.0),
        null=lambda: sets.floor(between, seed=seed),
        p=p,
    )


def _sums(x: Tensor, kernel: Kernel, weights: Tensor) -> Tensor:
    """sum_{j != i} k(x_i, x_j) w_j, `(N, W)`, a block of rows at a time."""
    parts = []
    for first in range(0, len(x), BLOCK):
        block = kernel(x[first : first + BLOCK], x)
        block.diagonal(first).zero_()
        parts.append(block @ weights)
    return torch.cat(parts)


def _unbiased(w: Tensor, kw: Tensor, k1: Tensor, n: int, m: int) -> Tensor:
    """MMD^2 `(W,)` where each column of w `(N, W)` marks the n of one set, from K w and K 1, K without diagonal."""
    xx = (w * kw).sum(0)
    xy = (w * (k1 - kw)).sum(0)
    yy = ((1 - w) * (k1 - kw)).sum(0)
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
