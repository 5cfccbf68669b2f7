"""Is this datum from the law the model was trained on?

A `Statistic` is a measurement (a likelihood, score norms, errors of denoising) and a law of it, learned from reference
data; a `Detector` adds the reference that makes its scores p-values. The functions here are the statistics in the
literature by name. None is best for all anomalies: docs/anomaly.md.
"""

from __future__ import annotations

from typing import Any, Literal

from scorefield.anomaly.detector import Detector, Statistic, measured
from scorefield.anomaly.laws import GaussianLaw, KernelLaw, Law, MixtureLaw, Standardised, Typicality, Upper
from scorefield.anomaly.levels import DenoisingErrors, ScoreNorms
from scorefield.anomaly.measurements import (
    CodeLength,
    Density,
    Difference,
    Measurement,
    NegativeElbo,
    NegativeLogLikelihood,
    Under,
)
from scorefield.anomaly.pvalues import benjamini_hochberg, conformal, group_typicality
from scorefield.anomaly.summary import Judged, applicable, compare, judge
from scorefield.denoisers import Denoiser
from scorefield.distributions import Distribution


def likelihood(of: Measurement | None = None, **options: Any) -> Statistic:
    """-log p / d. `of` replaces the measurement (`NegativeElbo()`); options are those of `NegativeLogLikelihood`."""
    return Statistic(of or NegativeLogLikelihood(**options))


def typicality(of: Measurement | None = None, **options: Any) -> Statistic:
    """|-log p - E(-log p)| / d, the expectation over the reference (Nalisnick et al. 2019)."""
    return Statistic(of or NegativeLogLikelihood(**options), Typicality())


def complexity(of: Measurement | None = None, coder: Literal["png", "zlib"] = "png", **options: Any) -> Statistic:
    """(-log p - the length of a lossless code) / d, for integers (Serrà et al. 2020)."""
    return Statistic(Difference(of or NegativeLogLikelihood(**options), CodeLength(coder)))


def likelihood_ratio(background: Denoiser | Distribution, of: Measurement | None = None, **options: Any) -> Statistic:
    """(-log p + log p_background) / d (Ren et al. 2019: a background trained on perturbed data)."""
    of = of or NegativeLogLikelihood(**options)
    other = Density(background) if isinstance(background, Distribution) else Under(background, of)
    return Statistic(Difference(of, other))


def score_norms(law: Law | None = None, **options: Any) -> Statistic:
    """-log density of the score's norms at several noise levels (Mahmood et al. 2021); one Gaussian unless given."""
    return Statistic(ScoreNorms(**options), law or GaussianLaw())


def denoising_error(law: Law | None = None, **options: Any) -> Statistic:
    """The mean z-score of the denoising errors at several noise levels (after Graham et al. 2023)."""
    return Statistic(DenoisingErrors(**options), law or Standardised())


__all__ = [
    "CodeLength",
    "DenoisingErrors",
    "Density",
    "Detector",
    "Difference",
    "GaussianLaw",
    "Judged",
    "KernelLaw",
    "Law",
    "Measurement",
    "MixtureLaw",
    "NegativeElbo",
    "NegativeLogLikelihood",
    "ScoreNorms",
    "Standardised",
    "Statistic",
    "Typicality",
    "Under",
    "Upper",
    "applicable",
    "benjamini_hochberg",
    "compare",
    "complexity",
    "conformal",
    "denoising_error",
    "group_typicality",
    "judge",
    "likelihood",
    "likelihood_ratio",
    "measured",
    "score_norms",
    "typicality",
]
