"""Score-based models beside what else makes data: the same data, size and time, measured alike, all seeds shown.

    compare("runs/compare", "25-gaussians")         trains, draws, measures; goes on from where it was

A method is a network and a way to draw with it; one trained network may serve several methods. Results are kept by
(method, seed), so a run that was stopped goes on, and a finished one is only read. The page, `report.html`, is made
of what is there.
"""

from scorefield.comparison.methods import METHODS, NETWORKS, Method
from scorefield.comparison.report import sentences, table, write
from scorefield.comparison.study import Result, Study, compare, load

__all__ = ["METHODS", "NETWORKS", "Method", "Result", "Study", "compare", "load", "sentences", "table", "write"]
