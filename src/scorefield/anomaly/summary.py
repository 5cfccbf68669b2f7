"""Judged data in one account: p-values, discoveries at a rate, and set against set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from scorefield import metrics
from scorefield.anomaly.detector import Detector
from scorefield.anomaly.pvalues import benjamini_hochberg
from scorefield.data import Transform

OF_LIKELIHOOD = ("likelihood", "typicality", "complexity")  # names of statistics that measure one


class Judged(NamedTuple):
    """Some data under one statistic."""

    detector: Detector
    scores: Tensor  # (N,)
    p: Tensor  # (N,)
    adjusted: Tensor  # (N,), Benjamini and Hochberg's

    @property
    def ranking(self) -> Tensor:
        """`(N,)` int64: the most anomalous first; equal ones in the order they came."""
        return self.scores.argsort(descending=True, stable=True)


def judge(detector: Detector, features: Tensor) -> Judged:
    """What was measured of some data, `(N, L)`, against the detector's reference."""
    scores = detector.statistic.law.score(features)
    p = detector.p_value_of(scores)
    return Judged(detector, scores, p, benjamini_hochberg(p))


def applicable(names: Iterable[str], transform: Transform | None, event_shape: tuple[int, ...]) -> list[str]:
    """Of the statistics of those names the ones that such data have.

    Likelihoods need a density, so no bare integers; a code's length needs pictures in bytes besides.
    """
    levels = None if transform is None else transform.levels
    has_density = levels is None or getattr(transform, "noise", True)
    picture = levels is not None and levels <= 256 and len(event_shape) == 3 and event_shape[0] in (1, 3)
    without = {*(() if has_density else OF_LIKELIHOOD), *(() if picture else ("complexity",))}
    return [name for name in names if name not in without]


def compare(judged: Mapping[str, Judged], fdr: float) -> dict[str, Any]:
    """For each statistic: areas with their intervals, as if all that is judged were anomalous, and what is flagged.

    Args:
        judged: by the statistic's name.
        fdr: false discovery rate of what is flagged.
    """
    found = {}
    for name, j in judged.items():
        pair: tuple[np.ndarray, np.ndarray] = (j.detector.reference.numpy(), j.scores.numpy())
        found[name] = {
            "auroc": _stated(metrics.auroc(*pair)),
            "average_precision": _stated(metrics.average_precision(*pair)),
            "fpr_at_95": _stated(metrics.fpr_at(*pair)),
            "flagged": int((j.adjusted <= fdr).sum()),
            "median_p": float(j.p.median()),
            "calibrated_on": len(j.detector.reference),
        }
    return found


def _stated(evidence: metrics.Evidence) -> dict[str, float]:
    low, high = evidence.interval(0.95)
    return {"value": evidence.value, "low": low, "high": high}
