"""Denoisers: E[x0 | x_t], of a network, a law in closed form or patches, or clipped to the data's range.

The score and its like are views of one.
"""

from scorefield.denoisers.base import Denoiser
from scorefield.denoisers.clipped import ClippedDenoiser
from scorefield.denoisers.exact import ExactDenoiser
from scorefield.denoisers.flow import Flow
from scorefield.denoisers.network import NetworkDenoiser, NoiseConditional
from scorefield.denoisers.patches import PatchDenoiser
from scorefield.denoisers.views import covariance, eps, score, v, velocity

__all__ = [
    "ClippedDenoiser",
    "Denoiser",
    "ExactDenoiser",
    "Flow",
    "NetworkDenoiser",
    "NoiseConditional",
    "PatchDenoiser",
    "covariance",
    "eps",
    "score",
    "v",
    "velocity",
]
