"""Parallel in time: all steps of a window at once, again and again, until they agree.

A sequential rule x_{j+1} = a_j x_j + b_j D(x_j, t_j) + c_j z_j, any `AffineSolver`, is a triangular system of equations
for the whole trajectory. Picard's iteration evaluates D at every guess x_j of a window in one batched call and then
runs the rule through it with those predictions,

    x'_{j+1} = a_j x'_j + b_j D(x_j, t_j) + c_j z_j,

which takes no evaluation: only D lags behind (Shih et al. 2023 let the whole drift lag). The start of the window is
right, so is x' one step on, and so on as far as x' has stayed where D was evaluated. There the window moves to, each
sample's by itself: at least one step a call, so a trajectory of N steps takes at most N calls one after another. Steps
that come into the window are guessed by the rule with the last prediction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import pad_right
from scorefield.solvers.adaptive import rms
from scorefield.solvers.ancestral import DDIM
from scorefield.solvers.base import AffineSolver, Denoise, Normals, Solver, State, Step


class _Rule(NamedTuple):
    """The whole grid of the sequential rule; each `(N,)` float64."""

    t: Tensor
    x: Tensor
    x0: Tensor
    noise: Tensor
    sigma: Tensor


class _Solved(NamedTuple):
    """The trajectory, made in the first step and read in the others."""

    x: Tensor  # (N + 1, B, *event)
    x0: Tensor  # (N, B, *event)


@dataclass(frozen=True)
class Picard(Solver):
    """ParaDiGMS (Shih et al. 2023) around an `AffineSolver`: its result, in fewer calls one after another.

    With tolerance 0 the result is the rule's own, to rounding. `Samples.depth` counts the calls one after another,
    `Samples.evaluations` what they cost each sample: more in all than the rule's one a step, which is what an nfe asked
    of `sample` is here, for fewer calls with more in each. That pays where a call with `window` times the batch costs
    little more than one. Noise is drawn beforehand, the same as the rule's. The trajectory is held in memory: N + 1
    batches, and as many predictions.

    A guess has settled or not at a threshold: where a network's last bits differ, a sample may be iterated once more,
    and move by less than the tolerance. `sample(exact=True)` keeps its bits, at a call for every step of the window.

    Args:
        rule: the sequential method; its order is this one's.
        window: steps at a time.
        tolerance: a guess has settled once it changes by at most `tolerance` times sigma, the rms of its sample against
            the noise level at the start of the step that made it.

    Raises:
        ValueError: for a window below 1 or a tolerance below 0.
    """

    rule: AffineSolver = field(default_factory=DDIM)
    window: int = 16
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.window < 1 or not self.tolerance >= 0:
            raise ValueError(
                f"Picard: window must be at least 1 and tolerance at least 0; got {self.window} and {self.tolerance}"
            )

    @property
    def order(self) -> int:
        return self.rule.order

    @property
    def stochastic(self) -> bool:
        return self.rule.stochastic

    @property
    def increments(self) -> bool:
        return self.rule.increments

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> list[_Rule]:
        columns = zip(*self.rule.coefficients(denoiser, t, s), strict=True)
        x, x0, noise = (torch.tensor(c, dtype=torch.float64, device="cpu") for c in columns)
        return [_Rule(t, x, x0, noise, denoiser.schedule.sigma(t))] * len(t)

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        (solved,) = state.past or (self._solve(denoise, state.x, step.coefficients, normals),)
        return State(solved.x[step.index + 1], solved.x0[step.index], (solved,))

    def _solve(self, denoise: Denoise, start: Tensor, rule: _Rule, normals: Normals) -> _Solved:
        steps, batch = len(rule.t), len(start)
        x = start.new_zeros(steps + 1, *start.shape)
        x0 = start.new_zeros(steps, *start.shape)
        x[0] = start
        noise = torch.stack([normals(j) for j in range(steps)]) if bool((rule.noise != 0).any()) else None

        def advance(j: Tensor, rows: Tensor) -> Tensor:
            """x_{j+1} by the rule, from the x_j and the prediction that stand at steps `j` `(n,)`."""
            a, b, c = (pad_right(w[j], start) for w in (rule.x, rule.x0, rule.noise))
            moved = x[j, rows] * a + x0[j, rows] * b
            return moved if noise is None else moved + noise[j, rows] * c

        # Each sample's window: x is right up to `low`, and guessed up to, but not including, `high`.
        rows = torch.arange(batch, device="cpu")
        low, high = (
            torch.zeros(batch, dtype=torch.int64, device="cpu"),
            torch.ones(batch, dtype=torch.int64, device="cpu"),
        )
        while len(rows):
            ahead = torch.arange(int((high - low).max()), device="cpu")
            sample, m = (low[:, None] + ahead < high[:, None]).nonzero().unbind(1)
            j, who = low[sample] + m, rows[sample]
            x0[j, who] = denoise(x[j, who], rule.t[j], who)
            # whether the prediction at low + m was made where x is
            right = torch.ones(len(rows), dtype=torch.bool, device="cpu")
            settled = low.clone()
            for m in ahead.tolist():
                inside = (low + m < high).nonzero()[:, 0]
                j, who = low[inside] + m, rows[inside]
                new = advance(j, who)
                settled[inside] += right[inside]
                change = rms(new - x[j + 1, who]).to("cpu", torch.float64)
                right[inside] &= change <= self.tolerance * rule.sigma[j]
                x[j + 1, who] = new
            left = settled < steps
            rows, low, high = rows[left], settled[left], high[left]
            edge, high = high, torch.clamp(low + self.window, max=steps)
            for m in range(int((high - edge).max()) if len(rows) else 0):
                inside = (edge + m < high).nonzero()[:, 0]
                j, who = edge[inside] + m, rows[inside]
                x0[j, who] = x0[j - 1, who]
                x[j + 1, who] = advance(j, who)
        return _Solved(x, x0)
