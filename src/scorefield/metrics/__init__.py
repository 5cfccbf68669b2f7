"""How far two sets of samples are apart, and from the training data. Put each number beside its floor."""

from scorefield.metrics.frechet import frechet_distance, frechet_gaussian
from scorefield.metrics.neighbours import Memorization, Neighbours, memorization, nearest
from scorefield.metrics.sliced import Floor, sliced_wasserstein, sliced_wasserstein_floor

__all__ = [
    "Floor",
    "Memorization",
    "Neighbours",
    "frechet_distance",
    "frechet_gaussian",
    "memorization",
    "nearest",
    "sliced_wasserstein",
    "sliced_wasserstein_floor",
]
