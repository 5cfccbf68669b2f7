"""Conditions added to a trained model: denoisers that wrap denoisers. Weight 1 is the plain conditional model, 0 the
unconditional one."""

from scorefield.guidance.classifier import ClassifierGuidance, ExactClassifier, NetworkClassifier
from scorefield.guidance.feynman_kac import WeightedSamples, feynman_kac
from scorefield.guidance.pairs import Autoguidance, ClassifierFreeGuidance
from scorefield.guidance.products import Conjunction, Mixture, Product, ProductOfExperts
from scorefield.guidance.rules import Interval, Projected, Rescaled, line

__all__ = [
    "Autoguidance",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "Conjunction",
    "ExactClassifier",
    "Interval",
    "Mixture",
    "NetworkClassifier",
    "Product",
    "ProductOfExperts",
    "Projected",
    "Rescaled",
    "WeightedSamples",
    "feynman_kac",
    "line",
]
