"""Sampling: one driver for every solver, and a sampler fitted to one model."""

from scorefield.sampling.driver import Callback, Samples, sample
from scorefield.sampling.tuning import Tuning, tune

__all__ = ["Callback", "Samples", "Tuning", "sample", "tune"]
