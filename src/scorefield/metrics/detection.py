"""How well a score tells one set from another: ROC, its area, average precision, false alarms, with intervals.

Scores are higher for what should be detected. With inliers X_1..X_n and outliers Y_1..Y_m,

    AUROC = P(Y > X) + P(Y = X) / 2,        estimated by the mean of psi(X_i, Y_j), psi = 1, 1/2 or 0

over the n m pairs: a two-sample U-statistic. Its variance (DeLong et al. 1988) is that of the two sets of placements,

    var(psi(X_i, .)) / n + var(psi(., Y_j)) / m,      psi(X_i, .) = mean_j psi(X_i, Y_j),

and the interval is taken on the logit, where it stays inside (0, 1). When every pair is in order that variance is 0 and
says nothing. But min(n, m) disjoint pairs are independent, each in order with probability AUROC, so

    P(all in order) <= AUROC^min(n, m),     AUROC >= (a / 2)^(1 / min(n, m)) at confidence 1 - a/2:

no assumption about the scores. Two normals of means 0 and d and unit variance have AUROC = Phi(d / sqrt 2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from scorefield.metrics.evidence import Bounds, Evidence

Scores = NDArray[np.float64]
ELEMENTS = 2**22  # of resamples at once


class Curve(NamedTuple):
    """A ROC curve: false positive rate against true positive rate, from (0, 0) to (1, 1)."""

    fpr: Scores
    tpr: Scores
    threshold: Scores  # what scores at least this is called an outlier; infinite at the first point


def roc_curve(inliers: ArrayLike, outliers: ArrayLike) -> Curve:
    """One point for each distinct score of `inliers` `(n,)` and `outliers` `(m,)`, and (0, 0).

    Raises:
        ValueError: for scores that are not (N,), are empty or NaN.
    """
    x, y = _scores(inliers, outliers)
    threshold = np.concatenate([[np.inf], np.unique(np.concatenate([x, y]))[::-1]])
    return Curve(_share_at_least(x, threshold), _share_at_least(y, threshold), threshold)


def auroc(inliers: ArrayLike, outliers: ArrayLike) -> Evidence:
    """The area under the ROC curve of `inliers` `(n,)` and `outliers` `(m,)`; ties count half.

    The interval is DeLong's on the logit, one-sided and exact where the sets are apart; the p-value is two-sided, that
    of Mann and Whitney.

    Raises:
        ValueError: for scores that are not (N,), are empty or NaN.

    References:
        DeLong, DeLong & Clarke-Pearson 1988, Comparing the areas under two or more correlated ROC curves.
    """
    x, y = _scores(inliers, outliers)
    of_x, of_y = 1 - _placements(x, y), _placements(y, x)  # how much of the other sample lies on the right side
    area = float(of_y.mean())

    def bounds(level: float) -> tuple[float, float]:
        tail = (1 - level) / 2
        if area in (0.0, 1.0):
            end = tail ** (1 / min(len(x), len(y)))
            return (end, 1.0) if area else (0.0, 1 - end)
        if min(len(x), len(y)) < 2:
            return 0.0, 1.0
        error = math.sqrt(of_x.var(ddof=1) / len(x) + of_y.var(ddof=1) / len(y))
        half = float(stats.norm.isf(tail)) * error / (area * (1 - area))  # the logit's derivative
        low, high = (1 / (1 + math.exp(-(math.log(area / (1 - area)) + side * half))) for side in (-1, 1))
        return low, high

    return _evidence("auroc", area, x, y, bounds, lambda: float(stats.mannwhitneyu(y, x).pvalue))


def average_precision(inliers: ArrayLike, outliers: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> Evidence:
    """The mean precision over the recalls, a step function's; it depends on the share of outliers, m / (n + m) here.

    The interval is Student's on the logit, with the spread over random halves of both samples, and without the bias,
    which halves have twice (the bootstrap's duplicates tie, and its percentiles add the bias once more). Where the two
    are perfectly apart it has no width and means nothing.

    Raises:
        ValueError: for scores that are not (N,), are empty or NaN; for less than one resample.
    """
    x, y = _scores(inliers, outliers)
    ratio = len(x) / len(y)

    def precision(found: Scores, false: Scores) -> Scores:
        new = np.diff(found, axis=1, prepend=0)
        return (new * found / np.where(found > 0, found + ratio * false, 1)).sum(1)

    value, redrawn = _bootstrapped(precision, x, y, resamples, seed, halves=True)

    def bounds(level: float) -> tuple[float, float]:
        if not 0 < value < 1:
            return value, value
        logits = special.logit(redrawn().clip(1e-9, 1 - 1e-9))
        width = float(stats.t.isf((1 - level) / 2, max(1, min(len(x), len(y)) - 1)))
        centre, half = 2 * special.logit(value) - logits.mean(), width * logits.std(ddof=1)
        return float(special.expit(centre - half)), float(special.expit(centre + half))

    return _evidence("average_precision", value, x, y, bounds)


def fpr_at(
    inliers: ArrayLike, outliers: ArrayLike, *, tpr: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Evidence:
    """The share of inliers called outliers by the highest threshold that finds a share `tpr` of the outliers.

    The interval is the percentile bootstrap's, joined to the binomial one of the inliers (Clopper and Pearson), which
    alone has a width where no inlier, or every one, is called an outlier.

    Raises:
        ValueError: for scores that are not (N,), are empty or NaN; for a tpr outside (0, 1], or less than one resample.
    """
    x, y = _scores(inliers, outliers)
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1]; got {tpr:g}")

    def rate(found: Scores, false: Scores) -> Scores:
        reached = np.argmax(found >= tpr - 1e-9, axis=1)
        return np.take_along_axis(false, reached[:, None], 1)[:, 0]

    value, redrawn = _bootstrapped(rate, x, y, resamples, seed)
    n, k = len(x), round(value * len(x))

    def bounds(level: float) -> tuple[float, float]:
        tail = (1 - level) / 2
        low, high = np.quantile(redrawn(), [tail, 1 - tail])
        least = float(stats.beta.ppf(tail, k, n - k + 1)) if k else 0.0
        most = float(stats.beta.isf(tail, k + 1, n - k)) if k < n else 1.0
        return min(float(low), least), max(float(high), most)

    return _evidence("fpr_at", value, x, y, bounds)


def _evidence(
    name: str, value: float, x: Scores, y: Scores, bounds: Bounds, p: Callable[[], float] | None = None
) -> Evidence:
    return Evidence(name=name, value=value, n=(len(x), len(y)), features="scores", bounds=bounds, p=p)


def _share_at_least(scores: Scores, threshold: Scores) -> Scores:
    return 1 - np.searchsorted(np.sort(scores), threshold, "left") / len(scores)


def _placements(scores: Scores, other: Scores) -> Scores:
    """The share of `other` below each of `scores`, ties half."""
    ordered = np.sort(other)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(other))


def _bootstrapped(
    number: Callable[[Scores, Scores], Scores], x: Scores, y: Scores, resamples: int, seed: int, *, halves: bool = False
) -> tuple[float, Callable[[], Scores]]:
    """The value, and its values of resamples, drawn once and when asked for.

    `number` takes the shares of outliers and of inliers at or above each threshold, high to low, `(R, T)` each. With
    `halves` a resample is a random half of each sample, without replacement.
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    scores, where = np.unique(-np.concatenate([x, y]), return_inverse=True)
    of_x, of_y = (np.bincount(w, minlength=len(scores)) for w in (where[: len(x)], where[len(x) :]))

    @functools.cache
    def redrawn() -> Scores:
        draw = np.random.default_rng(seed)
        values: list[Scores] = []
        at_once = max(1, ELEMENTS // len(scores))
        for first in range(0, resamples, at_once):  # a resample is how often each score was drawn
            size = min(at_once, resamples - first)
            counts = [
                draw.multivariate_hypergeometric(c, (c.sum() + 1) // 2, size, method="marginals")
                if halves
                else draw.multinomial(c.sum(), c / c.sum(), size)
                for c in (of_y, of_x)
            ]
            values.append(number(*(c.cumsum(1) / c.sum(1, keepdims=True) for c in counts)))
        return np.concatenate(values)

    found, false = (c.cumsum()[None] / c.sum() for c in (of_y, of_x))
    return float(number(found, false)[0]), redrawn


def _scores(inliers: ArrayLike, outliers: ArrayLike) -> tuple[Scores, Scores]:
    both = []
    for name, values in (("inliers", inliers), ("outliers", outliers)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or not len(array) or np.isnan(array).any():
            raise ValueError(f"{name} must be scores, (N,), at least one and none NaN; got shape {array.shape}")
        both.append(array)
    return both[0], both[1]
