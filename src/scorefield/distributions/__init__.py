"""Exact distributions: every method in the library is tested against these, and so can be yours."""

from scorefield.distributions.base import Distribution
from scorefield.distributions.boxes import UniformBoxes
from scorefield.distributions.empirical import Empirical
from scorefield.distributions.energy import Energy
from scorefield.distributions.gaussian import Gaussian
from scorefield.distributions.mixture import GaussianMixture
from scorefield.distributions.toy import (
    checkerboard,
    eight_gaussians,
    gaussian_grid,
    pinwheel,
    rings,
    spiral,
    two_moons,
)

__all__ = [
    "Distribution",
    "Empirical",
    "Energy",
    "Gaussian",
    "GaussianMixture",
    "UniformBoxes",
    "checkerboard",
    "eight_gaussians",
    "gaussian_grid",
    "pinwheel",
    "rings",
    "spiral",
    "two_moons",
]
