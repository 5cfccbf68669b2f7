"""One-step methods of several stages: a table of weights a step, and one loop.

Every explicit one-step method for the probability-flow ODE, Runge-Kutta in any coordinate or exponential, evaluates the
denoiser at points that are combinations of x_t and of the predictions before them:

    x_i = w_i x_t + sum_{j<i} v_ij D_j,    D_i = D(x_i, t_i),    x_0 = x_t,  x_m = x_s.

A method states it as a `Scheme`, in the field it integrates, F_j = p_j x_j + q_j D_j (a slope, eps, or D itself):

    x_i = a_i x_t + sum_{j<i} b_ij F_j.

`Scheme.weights` eliminates the F_j in float64 for the whole grid; the loop multiplies tensors by Python numbers.

Where sigma(s) = 0 the step is E[x0 | x_t], one evaluation: no stage ever looks at sigma = 0, where eps has no meaning.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import Denoise, Normals, Solver, State, Step, default_grid, finite


class Stage(NamedTuple):
    """A point of a step: at `t`, x x_t + sum_j x0[j] D_j."""

    t: Tensor  # (), float64
    x: float
    x0: tuple[float, ...]


class Scheme(NamedTuple):
    """The stages of all `N` steps of a grid, in a method's own terms; every tensor `(N,)`, float64.

    The last of the m points is the end of the step.
    """

    t: list[Tensor]  # m: where the points lie; t[0] is the start
    p: list[Tensor]  # m: F_j = p_j x_j + q_j D_j
    q: list[Tensor]
    a: list[Tensor]  # m: of points 1 to m
    b: list[list[Tensor]]  # m rows; of F_j in points 1 to m

    def weights(self) -> list[list[Tensor]]:
        """Of points 1 to m: [w_i, v_i0, v_i1, ...], the weights of (x_t, D_0, D_1, ...)."""
        zero = torch.zeros_like(self.p[0])
        points, fields = [[torch.ones_like(zero)]], []
        for a, b in zip(self.a, self.b, strict=True):
            j = len(fields)
            fields.append([*(self.p[j] * w for w in points[j]), self.q[j]])
            point = [a, *(zero for _ in range(j + 1))]
            for b_j, field in zip(b, fields, strict=True):
                for i, f in enumerate(field):
                    point[i] = point[i] + b_j * f
            points.append(point)
        return points[1:]


@dataclasses.dataclass(frozen=True)
class StagedSolver(Solver):
    """A deterministic one-step method, `evaluations` a step and one in the last, to sigma = 0.

    Args:
        finish: evaluations of the last step above sigma = 0, if that is to be a step of the family's method of lower
            order; 0 for the method's own. `within` sets it so that a budget is used up.

    Raises:
        ValueError: for a finish that is not below the method's own evaluations.
    """

    finish: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.finish < self.evaluations:
            raise ValueError(
                f"{type(self).__name__}: finish must be 0, or evaluations below the method's own {self.evaluations}; "
                f"got {self.finish}"
            )

    @abc.abstractmethod
    def scheme(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Scheme:
        """The stages of the steps from `t` `(N,)` to `s` `(N,)`, sigma(s) > 0."""

    @abc.abstractmethod
    def lower(self, evaluations: int) -> StagedSolver:
        """The family's best method of at most that many evaluations a step."""

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        """This method, with the last step of lower order that uses up `nfe`, and its grid.

        Raises:
            ValueError: for less than one evaluation.
        """
        last = int(denoiser.schedule(0.0)[1] == 0)
        steps, rest = divmod(self.budget(nfe) - last, self.evaluations)
        solver = dataclasses.replace(self, finish=rest)
        return solver, default_grid(denoiser, steps + (rest > 0) + last)

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[list[Stage]]:
        alpha, sigma = denoiser.schedule(s)
        own = len(s) - int(sigma[-1] == 0)  # only t = 0, the end of a grid, can be without noise
        short = min(own, 1) if self.finish else 0
        steps = self._stages(denoiser, t[: own - short], s[: own - short])
        if short:
            steps += self.lower(self.finish)._stages(denoiser, t[own - 1 : own], s[own - 1 : own])
        return steps + [[Stage(s[-1], 0.0, (float(alpha[-1]),))]] * (len(s) - own)

    def _stages(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> list[list[Stage]]:
        if not len(t):
            return []
        scheme = self.scheme(denoiser, t, s)
        times, rows = [*scheme.t[1:], s], scheme.weights()
        for i, row in enumerate(rows):
            names = ["x", *(f"D_{j}" for j in range(len(row) - 1))]
            finite(self, t, **{f"{name} of stage {i + 1}": w for name, w in zip(names, row, strict=True)})
        columns = [zip(*(w.tolist() for w in row), strict=True) for row in rows]
        return [
            [Stage(at[n], w, tuple(v)) for at, (w, *v) in zip(times, step, strict=True)]
            for n, step in enumerate(zip(*columns, strict=True))
        ]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        x, t, predictions = state.x, step.t, []
        for stage in step.coefficients:
            predictions.append(denoise(x, t))
            x, t = state.x * stage.x, stage.t
            for x0, weight in zip(predictions, stage.x0, strict=True):
                if weight:
                    x = x.add_(x0, alpha=weight)
        return State(x, predictions[-1])
