"""Noise schedules: pairs (alpha, sigma) in p(x_t | x_0) = N(alpha(t) x_0, sigma(t)^2 I), t = 0 data, t = 1 noise."""

from scorefield.schedules.base import (
    ForwardPosterior,
    PriorMoments,
    Schedule,
    Transition,
    as_time,
    derivative,
    floats,
    pad_right,
)
from scorefield.schedules.processes import EDM, VE, VP, Brownian, Cosine, Discrete, Rectified, SubVP, VEPower

__all__ = [
    "EDM",
    "VE",
    "VP",
    "Brownian",
    "Cosine",
    "Discrete",
    "ForwardPosterior",
    "PriorMoments",
    "Rectified",
    "Schedule",
    "SubVP",
    "Transition",
    "VEPower",
    "as_time",
    "derivative",
    "floats",
    "pad_right",
]
