"""Training: the loop, weight averaging, checkpoints, presets."""

from scorefield.training import presets
from scorefield.training.checkpoint import Checkpoint, load, save
from scorefield.training.ema import EMA
from scorefield.training.loop import Fit, History, Progress, constant, cosine, fit
from scorefield.training.muon import Muon, matrices

__all__ = [
    "EMA",
    "Checkpoint",
    "Fit",
    "History",
    "Muon",
    "Progress",
    "constant",
    "cosine",
    "fit",
    "load",
    "matrices",
    "presets",
    "save",
]
