"""Objectives: what is minimised so that a network becomes a denoiser. Each returns `(B,)`, unreduced.

All are called as `loss(denoiser, x0, *, t, eps, generator, weight, times, cond)` and, at one weight and time law, equal
`denoising` in expectation up to a constant: see `losses.marginal`. `losses.integrands` are score matching's for any
plain score function.
"""

from scorefield.losses import couplings, integrands, ladders, projections, times, weights
from scorefield.losses.bound import continuous_bound, discrete_bound
from scorefield.losses.classification import classification
from scorefield.losses.couplings import Coupling
from scorefield.losses.denoising import denoising, flow_matching
from scorefield.losses.ladders import ladder_of
from scorefield.losses.marginal import explicit, finite_difference, implicit, sliced
from scorefield.losses.times import (
    Importance,
    Ladder,
    LogitNormal,
    LogNormal,
    Stratified,
    TimeLaw,
    Uniform,
    UniformAngle,
)
from scorefield.losses.uncertainty import Uncertainty

__all__ = [
    "Coupling",
    "Importance",
    "Ladder",
    "LogNormal",
    "LogitNormal",
    "Stratified",
    "TimeLaw",
    "Uncertainty",
    "Uniform",
    "UniformAngle",
    "classification",
    "continuous_bound",
    "couplings",
    "denoising",
    "discrete_bound",
    "explicit",
    "finite_difference",
    "flow_matching",
    "implicit",
    "integrands",
    "ladder_of",
    "ladders",
    "projections",
    "sliced",
    "times",
    "weights",
]
