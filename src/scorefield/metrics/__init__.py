"""How far two sets of samples are apart, and from the training data; how well a score tells them apart; whether a
posterior is calibrated.

Put each number beside its floor.
"""

from scorefield.metrics.calibration import Coverage, Ranks, coverage, sbc, tarp, uniform_band
from scorefield.metrics.detection import Curve, Estimate, auroc, average_precision, fpr_at, roc_curve
from scorefield.metrics.frechet import frechet_distance, frechet_gaussian
from scorefield.metrics.neighbours import Memorization, Neighbours, memorization, nearest
from scorefield.metrics.sliced import Floor, sliced_wasserstein, sliced_wasserstein_floor

__all__ = [
    "Coverage",
    "Curve",
    "Estimate",
    "Floor",
    "Memorization",
    "Neighbours",
    "Ranks",
    "auroc",
    "average_precision",
    "coverage",
    "fpr_at",
    "frechet_distance",
    "frechet_gaussian",
    "memorization",
    "nearest",
    "roc_curve",
    "sbc",
    "sliced_wasserstein",
    "sliced_wasserstein_floor",
    "tarp",
    "uniform_band",
]
