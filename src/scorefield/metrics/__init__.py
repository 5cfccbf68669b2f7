"""How good samples are, as evidence: each metric returns a number with its interval, its floor and a p-value.

Distances of samples from data and from laws; fidelity, diversity and modes; goodness of fit by scores; how well a score
tells two sets apart; whether a posterior is calibrated; whether a chain has mixed.
"""

from scorefield._renamed import renamed
from scorefield.metrics import features
from scorefield.metrics.calibration import Coverage, Ranks, coverage, sbc, tarp, uniform_band
from scorefield.metrics.chains import effective_sample_size, r_hat
from scorefield.metrics.classifier import ModeWeights, mode_weights, two_sample
from scorefield.metrics.density import (
    Girsanov,
    ToDensity,
    fisher,
    girsanov,
    held_out_likelihood,
    likelihood_gap,
    to_density,
)
from scorefield.metrics.detection import Curve, auroc, average_precision, fpr_at, roc_curve
from scorefield.metrics.evidence import Evidence
from scorefield.metrics.frechet import frechet, frechet_distance, frechet_gaussian
from scorefield.metrics.kernels import kernel_distance, mmd
from scorefield.metrics.manifold import PrecisionRecall, precision_recall
from scorefield.metrics.neighbours import Neighbours, memorization, nearest
from scorefield.metrics.optimal import wasserstein, wasserstein_distance
from scorefield.metrics.series import Spectrum, autocorrelation, periodogram
from scorefield.metrics.sliced import Floor, sliced, sliced_wasserstein, sliced_wasserstein_floor
from scorefield.metrics.stein import kernel_stein, stein_operator
from scorefield.metrics.tables import marginals

__all__ = [
    "Coverage",
    "Curve",
    "Evidence",
    "Floor",
    "Girsanov",
    "ModeWeights",
    "Neighbours",
    "PrecisionRecall",
    "Ranks",
    "Spectrum",
    "ToDensity",
    "auroc",
    "autocorrelation",
    "average_precision",
    "coverage",
    "effective_sample_size",
    "features",
    "fisher",
    "fpr_at",
    "frechet",
    "frechet_distance",
    "frechet_gaussian",
    "girsanov",
    "held_out_likelihood",
    "kernel_distance",
    "kernel_stein",
    "likelihood_gap",
    "marginals",
    "memorization",
    "mmd",
    "mode_weights",
    "nearest",
    "periodogram",
    "precision_recall",
    "r_hat",
    "roc_curve",
    "sbc",
    "sliced",
    "sliced_wasserstein",
    "sliced_wasserstein_floor",
    "stein_operator",
    "tarp",
    "to_density",
    "two_sample",
    "uniform_band",
    "wasserstein",
    "wasserstein_distance",
]

__getattr__ = renamed(__name__, {"Estimate": "Evidence", "Memorization": "Evidence"})
