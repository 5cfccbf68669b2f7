"""Explicit Runge-Kutta integration of the probability-flow ODE, on a grid or to a tolerance.

With D = E[x0 | x_t] and eps = (x_t - alpha D) / sigma the ODE is, in the process's own time,

    dx/dt = alpha'(t) D + sigma'(t) eps = p x + q D,    p = sigma' / sigma,    q = alpha' - sigma' alpha / sigma,

and in a coordinate u along any path z = a(u) x0 / sd + b(u) eps of the same noise ratio, z = scale x,

    dz/du = a'(u) D / sd + b'(u) eps.

A `Schedule` says which path; `solvers.base.Coordinate` holds u, scale, p and q. `path=None` is the denoiser's own
process in its own t. Others reach the same x_s along another curve, straighter or less straight: `EDM(...)` is Karras
et al.'s choice, `Cosine(0)` a circle on which Gaussian data is solved exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.schedules import Cosine, Schedule, pad_right
from scorefield.solvers.adaptive import integrate
from scorefield.solvers.base import AffineSolver, Coordinate, Denoise, Normals, Solver, State, Step, left_behind
from scorefield.solvers.staged import Scheme, StagedSolver
from scorefield.solvers.tableaus import BOGACKI_SHAMPINE, CLASSICAL, EULER, HEUN, RALSTON, Tableau

CIRCLE = Cosine(alpha_min=0.0)
_LOWER = (EULER, HEUN, RALSTON, CLASSICAL)  # by their evaluations, 1 to 4: what a last step may take


@dataclass(frozen=True)
class Euler(AffineSolver):
    """Euler's step: first order, one evaluation a step.

        z_s = z_t + h dz/du = z_t + h (p x_t + q D),    h = u_s - u_t,    z = scale x;

    in the process's own time x_s = x_t + (s - t) (alpha' D + sigma' eps).

    Args:
        path: the coordinate; None for the process's own time. On EDM's path, on which
            dz/du is a multiple of eps, it is DDIM.
    """

    path: Schedule | None = None

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, there = Coordinate.of(self.path, denoiser, t), Coordinate.of(self.path, denoiser, s)
        p, q = here.slope(denoiser)
        h = there.u - here.u
        return (here.scale + h * p) / there.scale, h * q / there.scale, torch.zeros_like(t)


@dataclass(frozen=True)
class RungeKutta(StagedSolver):
    """Any explicit Runge-Kutta method in any coordinate, of the tableau's order: an evaluation for each of its stages.

        k_i = dz/du at z_t + h sum_{j<i} a_ij k_j, u_t + c_i h,    z_s = z_t + h sum_i b_i k_i,    h = u_s - u_t.

    A stage at the end of the step is evaluated there, at sigma(s) > 0. The step to sigma = 0 has no stages: it is
    E[x0 | x_t], one evaluation.

    Args:
        tableau: see `solvers.tableaus`. Error estimates are `Adaptive`'s matter, and a stage that only they need is not
            evaluated.
        path: the coordinate; None for the process's own time.
        finish: evaluations of the last step above sigma = 0, fewer than the tableau's; 0 for the tableau's own.

    Raises:
        ValueError: for a finish that is not below the tableau's evaluations; in sampling, for a path that does not
            reach a noise ratio of the grid.
    """

    tableau: Tableau
    path: Schedule | None = None

    @property
    def order(self) -> int:
        return self.tableau.order

    @property
    def evaluations(self) -> int:
        return self.tableau.stages - self.tableau.fsal

    def lower(self, evaluations: int) -> RungeKutta:
        return RungeKutta(_LOWER[min(evaluations, len(_LOWER)) - 1], self.path)

    def scheme(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Scheme:
        """x_i = (scale_t x_t + h sum_{j<i} a_ij k_j) / scale_i, k = dz/du = p x + q D; at the last point b for a."""
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

        k_1 = dz/du at (z_t, t),    k_2 = dz/du at (z_t + h k_1, s),    z_s = z_t + (h / 2) (k_1 + k_2).

    Karras et al. (2022), alg. 1, when the path (or the process) is EDM.
    """

    tableau: Tableau = field(default=HEUN, init=False, repr=False)
    path: Schedule | None = None


@dataclass(frozen=True)
class RK4(RungeKutta):
    """The classical Runge-Kutta method: fourth order, four evaluations a step and one in the last, to sigma = 0.

        k_1 = dz/du at (z_t, u),
        k_2 = dz/du at (z_t + (h / 2) k_1, u + h / 2),
        k_3 = dz/du at (z_t + (h / 2) k_2, u + h / 2),
        k_4 = dz/du at (z_t + h k_3, u + h),
        z_s = z_t + (h / 6) (k_1 + 2 k_2 + 2 k_3 + k_4).

    With an nfe budget the step before that takes what is left, 1 to 4 evaluations, at that order.
    """

    tableau: Tableau = field(default=CLASSICAL, init=False, repr=False)
    path: Schedule | None = None


class _Leg(NamedTuple):
    """From one node to the next."""

    denoiser: Denoiser
    here: Coordinate  # 0-d
    there: Coordinate
    to_data: bool  # end with E[x0 | x]


@dataclass(frozen=True)
class Adaptive(Solver):
    """An embedded Runge-Kutta pair with a step control for each sample: as many evaluations as `rtol` asks for.

    No grid and no nfe is needed. `Samples.evaluations` says what each sample took; one that has arrived takes no part
    in further calls. A step takes 3 evaluations with BOGACKI_SHAMPINE, of order 3(2), and 6 with DORMAND_PRINCE, of
    order 5(4). The error at the end is proportional to the tolerance.

    A step is taken or refused at a threshold. Where a network's last bits differ, in another batch or on another
    processor, a sample that stands at one takes other steps from there on, and ends as far off as the tolerance allows
    a sample to be; `sample(exact=True)` keeps its bits.

    The grid's nodes are where the solution is reported, not its steps. A step to sigma = 0, where eps has no meaning,
    is integrated down to the noise ratio s = `s_min` and ends with E[x0 | x] there. Along the flow x0 = E[x0 | x] -
    s^2 score(x0) / 2 + ..., so that leaves an error of s_min^2 / (2 w) for data smooth on the scale w, all in units of
    the data's std: 2e-5 at w = 0.1.

    A sample that does not arrive (its predictions are not finite, or `max_steps` are used up) is NaN, costs the others
    nothing, and is marked in `Samples.failed`.

    Args:
        rtol, atol: of a step, relative and in units of the data's standard deviation (where the path has unit variance,
            as the default has). float32 bears no less than 1e-5.
        tableau: see `solvers.tableaus`; below a tolerance of 1e-4 DORMAND_PRINCE takes fewer evaluations.
        path: the coordinate; None for the process's own time. On the default, a circle, Gaussian data stand still.
        s_min: noise ratio, in units of the data's std, where the integration ends if the grid ends at sigma = 0.
        max_steps: for each sample between two nodes.

    Raises:
        ValueError: for an rtol below 0, or an atol, an s_min or a max_steps that is not positive.

    References: Bogacki & Shampine (1989); Dormand & Prince (1980); Gustafsson (1991).
    """

    rtol: float = 1e-3
    atol: float = 1e-3
    tableau: Tableau = BOGACKI_SHAMPINE
    path: Schedule | None = CIRCLE
    s_min: float = grids.S_MIN
    max_steps: int = 1000

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0 and self.s_min > 0 and self.max_steps >= 1):
            raise ValueError(
                "Adaptive: rtol must be at least 0, atol and s_min positive and max_steps at least 1; "
                f"got {self.rtol}, {self.atol}, {self.s_min} and {self.max_steps}"
            )

    @property
    def adaptive(self) -> bool:
        return True

    @property
    def order(self) -> int:
        return self.tableau.order

    @property
    def evaluations(self) -> int:
        return self.tableau.stages - 1

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        """This method and a grid of one step, from t = 1 to t = 0.

        Raises:
            ValueError: for a number of evaluations: the tolerances decide that.
        """
        if nfe is not None:
            raise ValueError(
                f"nfe cannot be given to Adaptive, where rtol and atol decide how many evaluations a sample takes; "
                f"got {nfe}"
            )
        return self, torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu")

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> list[_Leg]:
        schedule = denoiser.schedule
        to_data = schedule.sigma(s) == 0
        low = schedule.time_of_log_snr(
            -torch.log(torch.tensor(self.s_min * denoiser.data_std, dtype=torch.float64, device="cpu"))
        )
        ends = torch.where(to_data, torch.minimum(t, low), s)
        here, there = (_each(Coordinate.of(self.path, denoiser, time)) for time in (t, ends))
        return [_Leg(denoiser, *leg) for leg in zip(here, there, to_data.tolist(), strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        leg: _Leg = step.coefficients
        if not len(state.x):
            return state
        if leg.here.t == leg.there.t:  # the grid is nearer to the data than s_min
            state = state._replace(x0=denoise(state.x, leg.here.t))
        else:
            state = self._travel(denoise, state, leg)
        return State(state.x0, state.x0, (), state.stopped) if leg.to_data else state

    def _travel(self, denoise: Denoise, state: State, leg: _Leg) -> State:
        """At the end of the leg, with the step control."""

        def velocity(z: Tensor, u: Tensor, rows: Tensor) -> Tensor:
            at = Coordinate.at(self.path, leg.denoiser, u)
            p, q = at.slope(leg.denoiser)
            x = z / pad_right(at.scale, z)
            return pad_right(p, x) * x + pad_right(q, x) * denoise(x, at.t, rows)

        end = integrate(
            velocity,
            leg.here.scale * state.x,
            leg.here.u,
            leg.there.u,
            rtol=self.rtol,
            atol=self.atol,
            tableau=self.tableau,
            control=state.past[0] if state.past else None,
            max_steps=self.max_steps,
        )
        control, stopped = end.control, state.stopped
        if not bool(end.arrived.all()):
            lost = ~end.arrived
            end.x[lost] = control.rate[lost] = math.nan
            stopped = left_behind(stopped, lost, Coordinate.at(self.path, leg.denoiser, end.u).t)
        x, (p, q) = end.x / leg.there.scale, leg.there.slope(leg.denoiser)
        return State(x, (control.rate - p * x) / q, (control,), stopped)  # the velocity there is p x + q E[x0 | x]


def _each(coordinates: Coordinate) -> list[Coordinate]:
    columns = (coordinates.u, coordinates.scale, coordinates.x0_rate, coordinates.eps_rate, coordinates.t)
    return [Coordinate(*row) for row in zip(*columns, strict=True)]
