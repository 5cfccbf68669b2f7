"""How far two sets of samples are apart, and from the training data; whether a posterior is calibrated.

Put each distance beside its floor.
"""

from scorefield.metrics.calibration import Coverage, Ranks, coverage, sbc, tarp, uniform_band
from scorefield.metrics.frechet import frechet_distance, frechet_gaussian
from scorefield.metrics.neighbours import Memorization, Neighbours, memorization, nearest
from scorefield.metrics.sliced import Floor, sliced_wasserstein, sliced_wasserstein_floor

__all__ = [
    "Coverage",
    "Floor",
    "Memorization",
    "Neighbours",
    "Ranks",
    "coverage",
    "frechet_distance",
    "frechet_gaussian",
    "memorization",
    "nearest",
    "sbc",
    "sliced_wasserstein",
    "sliced_wasserstein_floor",
    "tarp",
    "uniform_band",
]
