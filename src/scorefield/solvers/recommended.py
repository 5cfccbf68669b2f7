"""The solver and grid `sample` takes when the user says only a number of evaluations.

What decides the error of a few steps is the variable the field is extrapolated in, where the nodes lie and how much of
the past is read; what is best changes with the number of steps and hardly with the data, once noise is measured in
units of their standard deviation. The constants were searched on random two- and 64-dimensional mixtures and smoothed
digits (`benchmarks/solvers.py`, where other instances report what they reach); optima are flat, 10% either way in a
constant costs a few percent.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Choice:
    up_to: float  # evaluations
    solver: Multistep
    power: float  # of the angular grid
    scale: float  # of its angle, in units of data_std


_STRAIGHT, _CIRCLE = Rectified(), Cosine(0.0)
_CHOICES = (
    _Choice(8, Multistep(order=3, field=PathVelocity(_STRAIGHT, scale=0.65)), 2.1, 2.5),
    _Choice(17, Multistep(order=4, field=PathVelocity(_STRAIGHT, scale=1.75)), 1.8, 2.0),
    _Choice(float("inf"), Multistep(order=5, field=PathVelocity(_CIRCLE, scale=0.7), finish=2), 1.6, 1.8),
)


def recommended(schedule: Schedule, nfe: int, *, data_std: float = 1.0) -> Recommended:
    """A deterministic multistep solver and its grid, for `nfe` network evaluations from t = 1 to t = 0.

    Args:
        schedule: of the denoiser; any, since the choice is made in sigma / (alpha data_std).
        nfe: evaluations a sample, one a step.
        data_std: of the data, in the denoiser's units.
    """
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if not data_std > 0:
        raise ValueError(f"data_std must be positive; got {data_std}")
    choice = next(c for c in _CHOICES if nfe <= c.up_to)
    return Recommended(choice.solver, grids.angular(schedule, nfe, power=choice.power, scale=choice.scale * data_std))
