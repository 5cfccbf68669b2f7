"""Objectives: what is minimised so that a network becomes a denoiser. Each returns `(B,)`, unreduced."""

from scorefield.losses import times, weights
from scorefield.losses.denoising import denoising
from scorefield.losses.times import LogNormal, Stratified, TimeLaw, Uniform

__all__ = ["LogNormal", "Stratified", "TimeLaw", "Uniform", "denoising", "times", "weights"]
