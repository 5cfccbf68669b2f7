"""The solver and grid `sample` takes when the user says only a number of evaluations.

What decides the error of a few steps is the variable the field is extrapolated in, where the nodes lie and how much of
the past is read. In units of the data's standard deviation one grid does for all; the order that pays rises with the
number of steps. The constants were searched on random two- and 64-dimensional mixtures, smoothed digits and a network
trained on MNIST (`benchmarks/solvers.py` and `trained_solvers.py` report what they reach, on other instances); optima
are flat, 10% either way in a constant costs a few percent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from scorefield import grids
from scorefield.schedules import Cosine, Rectified, Schedule
from scorefield.solvers.base import Solver
from scorefield.solvers.fields import PathVelocity
from scorefield.solvers.multistep import Multistep


class Recommended(NamedTuple):
    """What `sample` runs."""

    solver: Solver
    times: Tensor  # (nfe + 1,)


_CHOICES = (  # up to so many evaluations
    (8, Multistep(order=3, field=PathVelocity(Rectified(), scale=0.65))),
    (17, Multistep(order=4, field=PathVelocity(Rectified(), scale=1.75))),
    (math.inf, Multistep(order=5, field=PathVelocity(Cosine(0.0), scale=0.7), finish=2)),
)


def recommended(schedule: Schedule, nfe: int, *, data_std: float = 1.0) -> Recommended:
    """A deterministic multistep solver and its grid, for `nfe` network evaluations from t = 1 to t = 0.

    Args:
        schedule: of the denoiser; any, since the choice is made in sigma / (alpha data_std).
        nfe: evaluations a sample, one a step.
        data_std: of the data, in the denoiser's units.

    Raises:
        ValueError: for less than one evaluation, or a data_std that is not positive.
    """
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if not data_std > 0:
        raise ValueError(f"data_std must be positive; got {data_std}")
    solver = next(solver for most, solver in _CHOICES if nfe <= most)
    return Recommended(solver, grids.angular(schedule, nfe, scale=2 * data_std))
