"""Weighted particles, in independent groups: what sequential Monte Carlo needs besides its weights.

A group is K particles with weights w_k, known up to a factor as log w_k; rows of `(G, K)` are groups, and no row's
result depends on another's. The effective sample size

    ESS = (sum_k w_k)^2 / sum_k w_k^2

is K for equal weights and 1 where one particle has them all. Systematic resampling takes, of the cumulative weights
c_k, the particles in which the K points (u + j) / K fall: E[copies of k] = K w_k, and the number never differs from
K w_k by one or more.

References:
    Kong, Liu & Wong 1994 (ESS); Kitagawa 1996; Carpenter, Clifford & Fearnhead 1999 (systematic resampling).
"""

from __future__ import annotations

import torch
from torch import Tensor


def systematic(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices `(G, K)` int64 of the particles that are kept, in order, from `uniform` `(G,)` in [0, 1).

    Args:
        log_weights: `(G, K)`; -inf is a particle without weight, which is never kept.

    Raises:
        ValueError: if a group has no particle with a finite weight, or one whose weight is NaN or infinite.
    """
    weights = _normalised(log_weights)
    k = weights.shape[1]
    points = (uniform.to(weights)[:, None] + torch.arange(k, device=weights.device)) / k
    # the last particle's weight ends at 1, whatever rounding made of the sum; trailing zeros must not get its points
    cumulative = weights.cumsum(1)
    cumulative = cumulative / cumulative[:, -1:]
    last = (weights > 0).to(torch.int64).mul(torch.arange(k, device=weights.device)).amax(1, keepdim=True)
    return torch.searchsorted(cumulative, points, right=True).minimum(last)


def effective_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2, `(G,)` float64 in [1, K], of `log_weights` `(G, K)`.

    Raises:
        ValueError: as `systematic`.
    """
    return 1 / _normalised(log_weights).square().sum(1)


def _normalised(log_weights: Tensor) -> Tensor:
    """Weights that sum to 1 in each row, float64."""
    if log_weights.ndim != 2 or not log_weights.shape[1]:
        raise ValueError(f"log_weights must have shape (G, K), K at least 1; got {tuple(log_weights.shape)}")
    log_weights = log_weights.double()
    largest = log_weights.amax(1)  # NaN where there is one
    if not bool(torch.isfinite(largest).all()):
        row = int((~torch.isfinite(largest)).nonzero()[0, 0])
        raise ValueError(
            f"log_weights must not be NaN or +inf, nor -inf for a whole group; got {float(largest[row])} in row {row}"
        )
    return torch.softmax(log_weights, 1)
