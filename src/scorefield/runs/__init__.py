"""A run: a recipe trained into a folder, and what is done with it afterwards.

    run = runs.train("runs/mine", recipe)           the folder: recipe, checkpoints, log, pictures
    run = runs.load("runs/mine")                    the same, any time later: `sf.load`
    run.sample(16, label=3).raw                     samples, in the units of the data

`Trained` is what the command line, benchmarks and examples stand on. The folder that training writes to is
`training.Run`; a checkpoint by itself, without its folder, loads too.
"""

from scorefield.runs.bound import RECIPE, check, recover
from scorefield.runs.choosing import choose
from scorefield.runs.data import HeldOut
from scorefield.runs.device import device_of
from scorefield.runs.diagnosing import examine
from scorefield.runs.drawing import Drawn, captions, draw, labels
from scorefield.runs.evaluating import Evaluated, evaluate
from scorefield.runs.trained import Trained, load
from scorefield.runs.training import Interrupted, train
from scorefield.runs.tunings import Choice

__all__ = [
    "RECIPE",
    "Choice",
    "Drawn",
    "Evaluated",
    "HeldOut",
    "Interrupted",
    "Trained",
    "captions",
    "check",
    "choose",
    "device_of",
    "draw",
    "evaluate",
    "examine",
    "labels",
    "load",
    "recover",
    "train",
]
