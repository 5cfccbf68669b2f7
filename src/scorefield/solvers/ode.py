"""Explicit Runge-Kutta integration of the probability-flow ODE.

In a coordinate u along a path z = a(u) x0 / sd + b(u) eps the ODE is dz/du = a'(u) D / sd + b'(u) eps, whatever the
path: a `Schedule` says which. `path=None` is the denoiser's own process in its own t. Others reach the same x_s along
another curve, straighter or less straight: `EDM(...)` is Karras et al.'s choice, `Cosine(0)` a circle on which Gaussian
data is solved exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule
from scorefield.solvers.base import AffineSolver, Coordinate
from scorefield.solvers.staged import Scheme, StagedSolver
from scorefield.solvers.tableaus import CLASSICAL, EULER, HEUN, RALSTON, Tableau

_LOWER = (EULER, HEUN, RALSTON, CLASSICAL)  # by their evaluations, 1 to 4: what a last step may take


@dataclass(frozen=True)
class Euler(AffineSolver):
    """x + h dx/du: first order, one evaluation a step."""

    path: Schedule | None = None

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, there = Coordinate.of(self.path, denoiser, t), Coordinate.of(self.path, denoiser, s)
        of_x, of_x0 = here.slope(denoiser)
        h = there.u - here.u
        return (here.scale + h * of_x) / there.scale, h * of_x0 / there.scale, torch.zeros_like(t)


@dataclass(frozen=True)
class RungeKutta(StagedSolver):
    """Any explicit Runge-Kutta method in any coordinate, of the tableau's order: an evaluation for each of its stages.

    A stage at the end of the step is evaluated there, at sigma(s) > 0. The step to sigma = 0 has no stages: it is
    E[x0 | x_t], one evaluation.

    Args:
        tableau: see `solvers.tableaus`. Error estimates are `Adaptive`'s matter, and a stage that only they need is not
            evaluated.
        path: the coordinate; None for the process's own time.
        finish: evaluations of the last step above sigma = 0, fewer than the tableau's; 0 for the tableau's own.
    """

    tableau: Tableau
    path: Schedule | None = None
    finish: int = 0

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.tableau.order

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.tableau.stages - self.tableau.fsal

    def lower(self, evaluations: int) -> RungeKutta:
        return RungeKutta(_LOWER[min(evaluations, len(_LOWER)) - 1], self.path)

    def scheme(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Scheme:
        """z_i = z_t + h sum_j a_ij k_j with k = dz/du = p x + q D, and x = z / scale."""
        here, there = Coordinate.of(self.path, denoiser, t), Coordinate.of(self.path, denoiser, s)
        h = there.u - here.u

        def point(c: float) -> Coordinate:
            return here if c == 0 else there if c == 1 else Coordinate.at(self.path, denoiser, here.u + c * h)

        stages = [point(c) for c in self.tableau.c[: self.evaluations]]
        rows = (*self.tableau.a, self.tableau.b)[: self.evaluations]
        ends = [*stages[1:], there]
        p, q = zip(*(stage.slope(denoiser) for stage in stages), strict=True)
        return Scheme(
            t=[stage.t for stage in stages],
            p=list(p),
            q=list(q),
            a=[here.scale / end.scale for end in ends],
            b=[[h * w / end.scale for w in row] for row, end in zip(rows, ends, strict=True)],
        )


@dataclass(frozen=True)
class Heun(RungeKutta):
    """Euler's step corrected by the trapezoid: second order, two evaluations a step and one in the last, to sigma = 0.

    Karras et al. (2022), alg. 1, when the path (or the process) is EDM.
    """

    tableau: Tableau = field(default=HEUN, init=False, repr=False)
    path: Schedule | None = None


@dataclass(frozen=True)
class RK4(RungeKutta):
    """The classical Runge-Kutta method: fourth order, four evaluations a step and one in the last, to sigma = 0.

    With an nfe budget the step before that takes what is left, 1 to 4 evaluations, at that order.
    """

    tableau: Tableau = field(default=CLASSICAL, init=False, repr=False)
    path: Schedule | None = None
