"""Nearest neighbours in the training data: does the model make new data, or copies?

With d(x, S) = min_{y in S} |x - y| and a training and a held-out set of one law, cut to one size n,

    share = P(d(x, train) < d(x, held out)) + P(equal) / 2

over samples x: by exchangeability 1/2 for a model that has only learned the law, 1 for one that copies.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.metrics.evidence import Evidence, share
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import generator, pair, rank


class Neighbours(NamedTuple):
    """The `k` nearest of a reference set, nearest first."""

    distance: Tensor  # (N, k), Euclidean
    index: Tensor  # (N, k), into the reference set


def nearest(x: Tensor, reference: Tensor, *, k: int = 1, chunk: int = 1024) -> Neighbours:
    """The `k` nearest of `reference` `(M, *event)` to each of `x` `(N, *event)`, in Euclidean distance.

    Raises:
        ValueError: for a k outside 1 .. M, or events of two sizes.
    """
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie in [1, {len(reference)}], the size of the reference set; got {k}")
    a, b = x.reshape(len(x), -1).to(torch.float64), reference.reshape(len(reference), -1).to(torch.float64)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"x and reference must have the same event size; got {a.shape[1]} and {b.shape[1]}")
    parts = [
        torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False)
        for part in a.split(chunk)
    ]
    return Neighbours(torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts]))


def memorization(
    x: Tensor,
    train: Tensor,
    held_out: Tensor,
    *,
    features: Features | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Evidence:
    """The share of samples `x` that lie nearer to the training set than to a held-out set of the same law.

    The two sets are cut to the same size, so a sample of the true law is nearer to either with probability 1/2
    (`.floor`); a model that copies its training data reaches 1. Ties count half.

    Samples with one nearest datum share its fate. So the interval is Wilson's with the variance between those clusters,
    and `.p_value` is that of exchanging training and held-out data at random: one-sided, exact at any sizes.

    Args:
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.

    Raises:
        ValueError: for no samples, or sets of two event sizes.
    """
    n = min(len(train), len(held_out))
    sets = pair(x, train[:n], features, held_out[:n], least=1)
    to = [nearest(sets.x, part) for part in (sets.y, sets.spare)]
    own, other = (found.distance[:, 0] for found in to)
    weight = torch.stack([(own < other).double(), (other < own).double()]) + (own == other).double() / 2
    clusters = torch.zeros(2, n, dtype=torch.float64, device="cpu")  # samples at each datum, of either set
    for side in (0, 1):
        clusters[side].index_add_(0, to[side].index[:, 0], weight[side])
    value = float(weight[0].mean())
    residuals = torch.cat([clusters[0] * (1 - value), -clusters[1] * value])

    def p() -> float:
        pooled, draw = clusters.flatten(), generator(seed)
        orders = (torch.randperm(2 * n, generator=draw, device="cpu")[:n] for _ in range(permutations))
        return rank(value, torch.stack([pooled[order].sum() / len(x) for order in orders]))

    return Evidence(
        name="memorization",
        value=value,
        n=(len(x), n, n),
        features=sets.features,
        bounds=share(value, float(residuals.square().sum().sqrt()) / len(x), len(x)),
        null=lambda: (0.5, (len(x), n, n)),
        p=p,
    )
