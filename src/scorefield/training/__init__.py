"""Training: the loop, weight averaging, checkpoints, presets."""

from scorefield.training import presets
from scorefield.training.checkpoint import Checkpoint, load, save
from scorefield.training.ema import EMA
from scorefield.training.loop import Fit, History, Progress, constant, cosine, fit

__all__ = ["EMA", "Checkpoint", "Fit", "History", "Progress", "constant", "cosine", "fit", "load", "presets", "save"]
