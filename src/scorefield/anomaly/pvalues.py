"""p-values from a reference sample, for one datum, for many at once, and for a group.

With reference scores R_1..R_n and a new score S from the same law (exchangeable, no ties), S's rank is uniform, so

    p = (1 + #{i: R_i >= S}) / (n + 1),      P(p <= a) <= a,  with equality at a = k / (n + 1)

whatever the law and the score (a conformal p-value; ties make it larger). Such p-values of several new data share one
reference and are positively dependent, under which Benjamini and Hochberg's step-up at level q still keeps the expected
share of false discoveries below q (Bates et al. 2023).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def conformal(scores: Tensor, reference: Tensor) -> Tensor:
    """p of each of `scores` `(B,)`, high scores being anomalous, against `reference` `(n,)`; float64 `(B,)`.

    Raises:
        ValueError: for scores or a reference that are not one-dimensional, or an empty reference.
    """
    if scores.ndim != 1 or reference.ndim != 1 or not len(reference):
        raise ValueError(
            f"scores and reference must be (B,) and (n,), n at least 1; got {tuple(scores.shape)} and "
            f"{tuple(reference.shape)}"
        )
    ordered = reference.double().sort().values
    above = len(ordered) - torch.searchsorted(ordered, scores.double())
    return (1 + above).double() / (len(ordered) + 1)


def benjamini_hochberg(p: Tensor) -> Tensor:
    """Adjusted p-values `(B,)`: those at most q are the discoveries at false discovery rate q.

        min over j with p_j >= p_i of B p_j / rank_j

    Raises:
        ValueError: for numbers outside [0, 1], or of another shape than (B,).

    References:
        Benjamini & Hochberg 1995; Bates et al. 2023, Testing for outliers with conformal p-values.
    """
    if p.ndim != 1 or not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(f"p must be p-values in [0, 1], (B,); got shape {tuple(p.shape)}")
    ordered, order = p.double().sort(stable=True)
    scaled = ordered * len(p) / torch.arange(1, len(p) + 1, device=p.device)
    least = scaled.flip(0).cummin(0).values.flip(0) if len(p) else scaled
    return torch.empty_like(least).scatter_(0, order, least)


def group_typicality(group: Tensor, reference: Tensor, *, resamples: int = 9999, seed: int = 0) -> float:
    """p of a `group` `(M,)` of measurements -log p being drawn from the law of the `reference` `(n,)`, all at once.

    The statistic is |mean(group) - mean(reference)|. Its law is bootstrapped: M of the reference redrawn, less its
    mean, whose own error, std / sqrt(n), is added as a normal, so that a group as large as the reference is no alarm.
    Numbers of the reference that are not finite are left out; a group that has one gets the smallest p.

    Raises:
        ValueError: for a group or a reference that is not one-dimensional, an empty group, less than two finite ones of
            the reference, or less than one resample.

    References:
        Nalisnick et al. 2019, Detecting out-of-distribution inputs to deep generative models using typicality.
    """
    if group.ndim != 1 or reference.ndim != 1 or not len(group) or int(torch.isfinite(reference).sum()) < 2:
        raise ValueError(
            f"group and reference must be (M,) and (n,), n at least 2 and finite; got {tuple(group.shape)} and "
            f"{tuple(reference.shape)}"
        )
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    reference = reference[torch.isfinite(reference)]
    values, m = reference.double().cpu().numpy(), len(group)
    centre = float(values.mean())
    observed = abs(float(group.double().mean()) - centre)
    draw = np.random.default_rng(seed)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reached, at_once = 0, max(1, 2**22 // m)
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        means = draw.choice(values, (size, m)).mean(1) - centre + error * draw.normal(size=size)
        reached += int((np.abs(means) >= observed).sum())
    return (1 + reached) / (resamples + 1)
