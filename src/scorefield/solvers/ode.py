"""Explicit integration of the probability-flow ODE.

In a coordinate u along a path z = a(u) x0 / sd + b(u) eps the ODE is dz/du = a'(u) D / sd + b'(u) eps, whatever the
path: a `Schedule` says which. `path=None` is the denoiser's own process in its own t. Others reach the same x_s along
another curve,
straighter or less straight: `EDM(...)` is Karras et al.'s choice, `Cosine(0)` a circle on which Gaussian data is solved
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule
from scorefield.solvers.base import AffineSolver, Coordinate, Denoise, Normals, Solver, State, Step, finite


def _slope(denoiser: Denoiser, at: Coordinate, t: Tensor) -> tuple[Tensor, Tensor]:
    """(of x, of D) in dz/du at `t`: eps is (x - alpha D) / sigma."""
    alpha, sigma = denoiser.schedule(t)
    return at.eps_rate / sigma, at.x0_rate - at.eps_rate * alpha / sigma


@dataclass(frozen=True)
class Euler(AffineSolver):
    """x + h dx/du: first order, one evaluation a step."""

    path: Schedule | None = None

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, there = Coordinate.of(self.path, denoiser, t), Coordinate.of(self.path, denoiser, s)
        of_x, of_x0 = _slope(denoiser, here, t)
        h = there.u - here.u
        return (here.scale + h * of_x) / there.scale, h * of_x0 / there.scale, torch.zeros_like(t)


class _HeunStep(NamedTuple):
    predict: tuple[float, float]  # the Euler step, from (x, D)
    correct: tuple[float, float, float, float] | None  # the trapezoid, from (x, D, x_predicted, D_predicted)


@dataclass(frozen=True)
class Heun(Solver):
    """The trapezoidal corrector on Euler's step: second order, two evaluations a step and one in the last, to sigma =
    0.

    Karras et al. (2022), alg. 1, when the path (or the process) is EDM.
    """

    path: Schedule | None = None
    order: ClassVar[int] = 2
    evaluations: int = 2

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> list[_HeunStep]:
        predict = Euler(self.path).coefficients(denoiser, t, s)
        here, there = Coordinate.of(self.path, denoiser, t), Coordinate.of(self.path, denoiser, s)
        half = (there.u - here.u) / 2
        (x1, d1), (x2, d2) = _slope(denoiser, here, t), _slope(denoiser, there, s)
        trapezoid = ((here.scale + half * x1), half * d1, half * x2, half * d2)
        last = denoiser.schedule.sigma(s) == 0
        rows = [torch.where(last, 0.0, c / there.scale) for c in trapezoid]
        finite(self, t, **dict(zip(("x", "x0", "x_s", "x0_s"), rows, strict=True)))
        columns = zip(*(row.tolist() for row in rows), strict=True)
        return [
            _HeunStep((p.x, p.x0), None if final else c)
            for p, c, final in zip(predict, columns, last.tolist(), strict=True)
        ]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        predict, correct = step.coefficients
        x, x0 = state.x, denoise(state.x, step.t)
        x_s = torch.add(x * predict[0], x0, alpha=predict[1])
        if correct is None:
            return State(x_s, x0)
        x0_s = denoise(x_s, step.s)
        a, b, c, d = correct
        return State((x * a).add_(x0, alpha=b).add_(x_s, alpha=c).add_(x0_s, alpha=d), x0_s)
