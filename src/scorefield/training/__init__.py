"""Training: the loop, its options, weight averaging, run folders and checkpoints."""

from scorefield.training.checkpoint import Checkpoint, load, save
from scorefield.training.ema import EMA, PowerEMA, average, reconstruct
from scorefield.training.engine import Options
from scorefield.training.loggers import Logger, TensorBoard, WandB
from scorefield.training.loop import Fit, History, Progress, fit
from scorefield.training.optimizers import AdamW, Muon, constant, cosine, inverse_sqrt
from scorefield.training.run import Run

__all__ = [
    "EMA",
    "AdamW",
    "Checkpoint",
    "Fit",
    "History",
    "Logger",
    "Muon",
    "Options",
    "PowerEMA",
    "Progress",
    "Run",
    "TensorBoard",
    "WandB",
    "average",
    "constant",
    "cosine",
    "fit",
    "inverse_sqrt",
    "load",
    "reconstruct",
    "save",
]
