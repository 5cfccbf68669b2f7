"""Fréchet distance: W_2^2 between the Gaussians of two feature sets' means and covariances,

    |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2)).

With Inception features it is the FID (Heusel et al. 2017); here the features are yours.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from scorefield.metrics.evidence import Evidence, normal
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import pair


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared distance between the features `x` `(N, d)` and `y` `(M, d)`; events are flattened.

    It is biased upwards by about (tr C)(1/N + 1/M) and more: compare sets of equal sizes, and with the floor.

    Raises:
        ValueError: for less than two samples on either side, or events of two sizes.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must hold at least 2 samples each; got {len(x)} and {len(y)}")
    x, y = (s.reshape(len(s), -1).to(torch.float64) for s in (x, y))
    return frechet_gaussian(x.mean(0), torch.cov(x.T).reshape(2 * x.shape[1:]), y.mean(0), torch.cov(y.T))


def frechet_gaussian(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """W_2^2 between N(mean1, cov1) and N(mean2, cov2): `(d,)` and `(d, d)`, singular covariances too.

    Raises:
        ValueError: for events of two sizes.
    """
    d = len(mean1)
    if mean1.shape != mean2.shape:
        raise ValueError(f"x and y must have the same event size; got {d} and {len(mean2)}")
    cov1, cov2 = cov1.reshape(d, d), cov2.reshape(d, d)
    values, vectors = torch.linalg.eigh(cov1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross
    return max(float(distance), 0.0)


def frechet(
    x: Tensor,
    y: Tensor,
    *,
    features: Features | None = None,
    spare: Tensor | None = None,
    groups: int = 20,
    permutations: int = 199,
    seed: int = 0,
) -> Evidence:
    """The Fréchet distance of samples `x` `(n, *event)` to real data `y` `(m, *event)`, as evidence.

    `.value` is `frechet_distance`. It is too large by b = a / n + c / m and more; `.extrapolated` is less b, which is
    found by leaving out one of `groups` parts at a time (the grouped jackknife). `.interval` is normal about that:

        D - b -+ z sqrt(var phi(x) / n + var psi(y) / m),

    the delta method with the influence functions of D, which are the potentials of the transport T between the two
    Gaussians, phi(x) = 2 (mu_x - mu_y) . x + (x - mu_x)^T (I - T) (x - mu_x), and psi likewise. (The percentile
    bootstrap redraws the bias a second time and covers next to nothing.) It takes n and m well above d, and laws that
    differ: at the null use `.p_value`, of the permutation test.

    Args:
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.
        spare: further real data, so that the floor is had at the sizes (n, m).

    Raises:
        ValueError: for less than four samples, sets of two event sizes, or less than two groups.

    References:
        Chong & Forsyth 2020, Effectively unbiased FID and Inception score; Rippl, Munk & Sturm 2016, Limit laws of the
        empirical Wasserstein distance: Gaussian distributions.
    """
    sets = pair(x, y, features, spare, least=4)
    value = frechet_distance(sets.x, sets.y)
    limit = functools.cache(lambda: value - sets.bias(frechet_distance, groups=groups, seed=seed))
    error = math.sqrt(sum(float(p.var()) / len(p) for p in _influence(sets.x, sets.y)))
    return Evidence(
        name="frechet",
        value=value,
        n=sets.n,
        features=sets.features,
        bounds=lambda level: normal(limit(), error, low=0.0)(level),
        limit=limit,
        null=lambda: sets.floor(frechet_distance, seed=seed),
        p=lambda: sets.permuted(frechet_distance, repeats=permutations, seed=seed),
    )


def _influence(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The influence function of the distance at every sample of either set, up to a constant."""
    found = []
    for one, other in ((x, y), (y, x)):
        centred, shift = one - one.mean(0), one.mean(0) - other.mean(0)
        root, inverse = _roots(torch.cov(one.T).reshape(2 * one.shape[1:]))
        middle = root @ torch.cov(other.T).reshape(2 * one.shape[1:]) @ root
        transport = inverse @ _roots(middle)[0] @ inverse
        found.append(2 * centred @ shift + centred.square().sum(1) - ((centred @ transport) * centred).sum(1))
    return found[0], found[1]


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """matrix^(1/2) and its pseudo-inverse, of a symmetric matrix that is not negative."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=0)
    large = values > values.max() * len(values) * torch.finfo(values.dtype).eps
    root = torch.where(large, values, 0.0).sqrt()
    return vectors * root @ vectors.T, vectors * torch.where(large, 1 / root, 0.0) @ vectors.T
