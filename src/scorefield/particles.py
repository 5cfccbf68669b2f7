"""Weighted particles: resampling, effective size, evidence.

G independent systems of K particles with unnormalised log-weights `(G, K)`; W = softmax along a row. Nothing here mixes
rows, so what happens to a system does not depend on which others are computed beside it.

    effective size   1 / sum_k W_k^2, between 1 and K
    log-mean weight  log (1/K) sum_k w_k, whose exponential estimates a ratio of normalising constants without bias
    systematic       slot k takes the particle j with W_1 + .. + W_{j-1} <= (k + u)/K < W_1 + .. + W_j, u one uniform

Systematic resampling gives particle j floor(K W_j) or ceil(K W_j) children and K W_j on average, with less variance
than independent choices. It leaves the slots in the order of their parents, so a single slot is no draw from W: only
all of them are, or one in a random order (`shuffled`).

References: Kitagawa 1996 (systematic resampling); Kong, Liu and Wong 1994 (effective size).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def systematic(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """For each slot of each system the particle it takes, `(G, K)` int64.

    Args:
        log_weights: `(G, K)`, unnormalised; -inf is weight 0. A row of nothing else counts as equal weights.
        uniform: `(G,)` in [0, 1), one for each system.

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check(log_weights)
    if uniform.shape != log_weights.shape[:1]:
        raise ValueError(f"uniform must have shape ({len(log_weights)},); got {tuple(uniform.shape)}")
    k = log_weights.shape[1]
    reached = normalised(log_weights).cumsum(1)
    reached = reached / reached[:, -1:]  # rounding must not leave the last slots without a particle
    points = (torch.arange(k, device=log_weights.device) + uniform.double()[:, None]) / k
    return torch.searchsorted(reached, points.clamp(max=1 - 2.0**-53), right=True)


def shuffled(index: Tensor, uniform: Tensor) -> Tensor:
    """`index` `(G, K)` with the slots of each row in random order, by `uniform` `(G, K)`."""
    return index.gather(1, uniform.argsort(dim=1, stable=True))


def truncated(log_weights: Tensor) -> Tensor:
    """min(w, sqrt(K) mean w) in logs: no particle counts for more than sqrt(K) average ones.

    It takes away what makes importance weights of infinite variance dangerous, one particle that takes over a system,
    for a bias that vanishes as K grows (Ionides 2008, Truncated importance sampling).

    Raises:
        ValueError: for log-weights of another shape, or no particles.
    """
    _check(log_weights)
    cap = log_mean(log_weights)[:, None] + math.log(log_weights.shape[1]) / 2
    return torch.minimum(log_weights.double(), cap)


def normalised(log_weights: Tensor) -> Tensor:
    """W `(G, K)` float64, each row summing to 1.

    Raises:
        ValueError: for log-weights of another shape, or no particles.
    """
    _check(log_weights)
    logs = log_weights.double()
    dead = torch.isneginf(logs).all(1, keepdim=True)
    return torch.softmax(torch.where(dead, 0.0, logs), 1)


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum W^2, `(G,)` float64."""
    return 1 / normalised(log_weights).square().sum(1)


def log_mean(log_weights: Tensor) -> Tensor:
    """log (1/K) sum_k w_k, `(G,)` float64.

    Raises:
        ValueError: for log-weights of another shape, or no particles.
    """
    _check(log_weights)
    return torch.logsumexp(log_weights.double(), 1) - math.log(log_weights.shape[1])


def _check(log_weights: Tensor) -> None:
    if log_weights.ndim != 2 or not log_weights.shape[1]:
        raise ValueError(f"log_weights must have shape (G, K) with K at least 1; got {tuple(log_weights.shape)}")
