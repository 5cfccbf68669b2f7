"""Nearest neighbours in the training data: does the model make new data, or copies?

With d(x, S) = min_{y in S} |x - y| and a training and a held-out set of one law, cut to one size n,

    share = P(d(x, train) < d(x, held out)) + P(equal) / 2

over samples x: by exchangeability 1/2 for a model that has only learned the law, 1 for one that copies. Its standard
error is the binomial sqrt(share (1 - share) / N).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


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


class Memorization(NamedTuple):
    """Of the samples, the share nearer to the training data than to held-out data."""

    share: float
    stderr: float  # binomial
    expected: float  # of a model that has only learned the distribution


def memorization(x: Tensor, train: Tensor, held_out: Tensor) -> Memorization:
    """How much closer samples lie to the training set than to a held-out set of the same law.

    The two sets are cut to the same size, so a sample of the true law is nearer to either with probability 1/2; a model
    that copies its training data reaches 1. Ties count half.
    """
    n = min(len(train), len(held_out))
    to_train, to_held_out = (nearest(x, part[:n]).distance[:, 0] for part in (train, held_out))
    share = float((to_train < to_held_out).double().mean() + (to_train == to_held_out).double().mean() / 2)
    return Memorization(share, math.sqrt(share * (1 - share) / len(x)), 0.5)
