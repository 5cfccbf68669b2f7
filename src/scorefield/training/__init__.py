"""Training: what is trained, the loop, its options, weight averaging, and the folder of a run."""

from scorefield.training.denoising import DenoisingObjective
from scorefield.training.ema import EMA, PowerEMA, average, posthoc_ema
from scorefield.training.loggers import Logger, TensorBoard, WandB
from scorefield.training.loop import Fit, fit
from scorefield.training.matching import DistributionMatching
from scorefield.training.objective import Now, Objective, Turn
from scorefield.training.optimizers import AdamW, Muon, constant, cosine, inverse_sqrt
from scorefield.training.options import Options
from scorefield.training.progress import History, Progress
from scorefield.training.reflow import Reflow
from scorefield.training.run import Run

__all__ = [
    "EMA",
    "AdamW",
    "DenoisingObjective",
    "DistributionMatching",
    "Fit",
    "History",
    "Logger",
    "Muon",
    "Now",
    "Objective",
    "Options",
    "PowerEMA",
    "Progress",
    "Reflow",
    "Run",
    "TensorBoard",
    "Turn",
    "WandB",
    "average",
    "constant",
    "cosine",
    "fit",
    "inverse_sqrt",
    "posthoc_ema",
]
