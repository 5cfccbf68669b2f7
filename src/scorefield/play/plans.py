"""A solver's plan as numbers: what another program needs to take the same steps.

A step of every method here but the adaptive ones combines what it holds, affinely: x, the mean of the data, what it
kept of earlier steps, its predictions D_j, fresh normals z_k. So it can be written down without knowing how it was
thought of: registers r (r_0 is x, r_1 the latest prediction), and for each step

    D_j = E[x0 | x_t = sum_i a_ji r_i + ... ],  j = 0, 1, ...,     r' = sum_i b_i (r, mean, D, z)_i.

`written` finds the numbers by taking the steps once, in float64, on unit vectors in place of data: each tensor the
solver touches is then the row of its own coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule
from scorefield.solvers import Solver
from scorefield.solvers.base import State, Step

KEPT, ROOM = 24, 48  # registers, and evaluations and draws of one step, at most
WIDTH = 1 + KEPT + ROOM  # of a row of coefficients: the mean's, the registers', what the step adds

Sum = list[tuple[int, float]]  # of (which, times): register i, -1 the data's mean, or what the step has added, in order


class Evaluation(TypedDict):
    """D = E[x0 | x_t] at x_t = the sum `of`."""

    t: float
    alpha: float
    sigma: float
    of: Sum


class WrittenStep(TypedDict):
    """One step. Numbers in a `Sum` beyond the registers count this step's draws and then its evaluations."""

    t: float
    s: float
    draws: list[int]  # of each sample's noise; draw 0 is where it started
    evaluations: list[Evaluation]
    registers: list[Sum]  # after the step: x, the latest prediction, and what the method keeps


class Written(TypedDict):
    """A plan: where it starts, and its steps."""

    times: list[float]
    mean: float  # of the start, times the data's
    std: float  # of the start
    nfe: int
    steps: list[WrittenStep]


def written(solver: Solver, schedule: Schedule, times: Tensor, *, data_std: float = 1.0) -> Written:
    """The plan of `solver` on the grid `times` `(N + 1,)` for data of that standard deviation.

    Raises:
        ValueError: for a method whose steps are no sums of what it holds, as those of an adaptive one.
    """
    if solver.adaptive:
        raise ValueError(f"{type(solver).__name__} chooses its steps as it goes: it has no plan to write down")
    start = schedule.prior(times[0], mean=1.0, std=data_std)
    probe = _Probe(schedule, data_std)
    state: Any = None
    count, steps = 2, []
    for step in solver.plan(probe, times):
        probe.begin(count)
        units = (_unit(1 + i) for i in range(count))
        state = solver.init(next(units)) if state is None else _rebuilt(state, units)
        state = solver.step(probe.denoise, state, step, probe.normals)
        steps.append(probe.wrote(step, state))
        count = len(steps[-1]["registers"])
    return {
        "times": times.tolist(),
        "mean": float(start.mean),
        "std": float(start.std),
        "nfe": sum(len(step["evaluations"]) for step in steps),
        "steps": steps,
    }


class _Asked(NamedTuple):
    t: float
    alpha: float
    sigma: float
    of: Tensor


class _Probe(Denoiser):
    """Answers with unit vectors, and remembers what it was asked."""

    def __init__(self, schedule: Schedule, data_std: float) -> None:
        super().__init__()
        self.schedule, self.data_std, self.data_mean = schedule, data_std, _unit(0)[0]

    def begin(self, registers: int) -> None:
        if registers > KEPT:
            raise ValueError(f"a method that keeps more than {KEPT} tensors is not written down")
        self.registers, self.used = registers, 1 + registers
        self.asked: list[_Asked] = []
        self.answers: list[int] = []  # the coordinates of the predictions
        self.draws: dict[int, int] = {}  # draw -> its coordinate

    def _new(self) -> int:
        self.used += 1
        if self.used > WIDTH:
            raise ValueError(f"a step of more than {ROOM} evaluations and draws is not written down")
        return self.used - 1

    def denoise(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is not None or t.ndim:
            raise ValueError("a method that evaluates samples at times of their own has no plan to write down")
        alpha, sigma = (float(v) for v in self.schedule(t))
        self.asked.append(_Asked(float(t), alpha, sigma, x_t[0].clone()))
        self.answers.append(self._new())
        return _unit(self.answers[-1])

    def normals(self, k: int) -> Tensor:
        if k not in self.draws:
            self.draws[k] = self._new()
        return _unit(self.draws[k])

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.denoise(x_t, t)

    def wrote(self, step: Step, state: State) -> WrittenStep:
        tensors = list(_tensors(state))
        if any(v.shape != (1, WIDTH) for v in tensors):
            raise ValueError("a method that keeps anything but tensors of the shape of x has no plan to write down")
        order = [*self.draws.values(), *self.answers]
        place = {0: -1} | {1 + i: i for i in range(self.registers)}
        place |= {coordinate: self.registers + j for j, coordinate in enumerate(order)}

        def terms(row: Tensor) -> Sum:
            return [(place[int(i)], float(row[i])) for i in row.nonzero()[:, 0]]

        return {
            "t": float(step.t),
            "s": float(step.s),
            "evaluations": [{"t": a.t, "alpha": a.alpha, "sigma": a.sigma, "of": terms(a.of)} for a in self.asked],
            "draws": [k + 1 for k in self.draws],
            "registers": [terms(v[0]) for v in tensors],
        }


def _unit(i: int) -> Tensor:
    e = torch.zeros(1, WIDTH, dtype=torch.float64)
    e[0, i] = 1.0
    return e


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    elif value is not None and not isinstance(value, int | float | bool):
        raise ValueError(f"a method that keeps a {type(value).__name__} has no plan to write down")


def _rebuilt(value: Any, units: Iterator[Tensor]) -> Any:
    """The same nested tuples with the next unit vector in place of each tensor."""
    if isinstance(value, Tensor):
        return next(units)
    if isinstance(value, tuple):
        parts = [_rebuilt(part, units) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
