"""Churn: a deterministic solver made stochastic by going back up before each step (Karras et al. 2022, alg. 2).

Before the step from t to s the noise is raised from t to t^, where s(t^) = (1 + gamma) s(t) in noise ratios s = sigma /
alpha; then the solver steps from t^ to s. Raising the noise is a stretch of the forward process,

    x_t^ = (alpha^ / alpha) x_t + alpha^ sqrt(s^2(t^) - s^2(t)) z,

exact whatever its length, so the method has the solver's order; and it undoes part of the errors of the steps before,
for it forgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import EDM
from scorefield.solvers.base import Denoise, Normals, Solver, State, Step
from scorefield.solvers.ode import Heun


class _Raise(NamedTuple):
    """x at `t`, from x below it: x scale + noise z. The solver then goes on from `t` with `solve`."""

    t: Tensor
    scale: float
    noise: float
    solve: Any


@dataclass(frozen=True)
class Churn(Solver):
    """`solver`'s steps, each from a noise level raised by gamma = min(amount / N, sqrt(2) - 1); N the number of steps.

        s(t^) = (1 + gamma) s(t),    x_t^ = (alpha^ / alpha) x_t + noise alpha^ sqrt(s(t^)^2 - s(t)^2) z,

    s = sigma / alpha, and then `solver`'s step from t^ to s. With Heun on the EDM path, the default, this is EDM's
    stochastic sampler on any process; their settings for CIFAR-10 are (30, 0.01, 1, 1.007), for ImageNet (40, 0.05, 50,
    1.003), both for data of standard deviation 0.5. The noise is never raised above the process's own at t = 1.

    Args:
        solver: a deterministic one-step method.
        amount: S_churn.
        s_min, s_max: S_min and S_max: noise is raised where the noise ratio sigma / alpha lies between them.
        noise: S_noise: the standard deviation of z; 1 is exact, a little more makes up for a network that denoises too
            much.

    Raises:
        ValueError: for a solver that is stochastic or chooses its own steps, an amount below 0, a noise that is not
            positive, or s_min above s_max; in sampling, for a solver that remembers earlier steps.
    """

    solver: Solver = field(default_factory=lambda: Heun(path=EDM(sigma_max=1e4)))
    amount: float = 40.0
    s_min: float = 0.0
    s_max: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        if self.solver.stochastic or self.solver.adaptive:
            raise ValueError(f"Churn: solver must be deterministic, of steps known beforehand; got {self.solver}")
        if not (self.amount >= 0 and self.noise > 0 and 0 <= self.s_min <= self.s_max):
            raise ValueError(
                "Churn: amount must be at least 0, noise positive, and 0 <= s_min <= s_max; "
                f"got {self.amount}, {self.noise}, {self.s_min} and {self.s_max}"
            )

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def evaluations(self) -> int:
        return self.solver.evaluations

    @property
    def stochastic(self) -> bool:
        return self.amount > 0

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[_Raise]:
        schedule = denoiser.schedule
        ratio, highest = schedule.noise_ratio(t), schedule.noise_ratio(1.0)
        gamma = min(self.amount / len(t), math.sqrt(2) - 1)
        raised = (ratio >= self.s_min) & (ratio <= self.s_max) & (ratio < highest) & (gamma > 0)
        up = schedule.time_of_log_snr(-torch.log(torch.minimum((1 + gamma) * ratio, highest)))
        t_up = torch.where(raised, torch.maximum(up, t), t)
        scale, std = schedule.transition(t, t_up)
        scale, std = torch.where(raised, scale, 1.0), torch.where(raised, self.noise * std, 0.0)
        solve = self.solver.coefficients(denoiser, t_up, s)
        return [_Raise(*row) for row in zip(t_up, scale.tolist(), std.tolist(), solve, strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        t, scale, noise, solve = step.coefficients
        x = torch.add(state.x * scale, normals(step.index), alpha=noise) if noise else state.x
        state = self.solver.step(denoise, State(x, state.x0), Step(step.index, t, step.s, solve), normals)
        if state.past:  # its earlier steps ended where this one does not begin
            raise ValueError(f"Churn: solver must be a one-step method; got {self.solver}, which remembers")
        return state
