"""Euler-Maruyama on the reverse SDE, predictor-corrector, and annealed Langevin dynamics.

For every eta the process

    dx = [f x - (1 + eta^2)/2 g^2 s] dt + eta g dw_bar

run from t = 1 down has the marginals p_t (Anderson 1982 at eta = 1; the probability-flow ODE at eta = 0). Langevin
dynamics at a level leave p_t as it is; which dynamics is a value of its own, see `solvers.dynamics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import AffineSolver, Denoise, Normals, Solver, State, Step, default_grid
from scorefield.solvers.dynamics import Dynamics, Overdamped


@dataclass(frozen=True)
class EulerMaruyama(AffineSolver):
    """The Euler-Maruyama step in t itself, for every schedule (Song et al. 2021, eq. 6). Weak order 1.

        x_s = x_t - h [f x_t - (1 + eta^2)/2 g^2 score] + eta g sqrt(h) z,    h = t - s,

    f, g and score = (alpha D - x_t) / sigma^2 at t.

    Args:
        eta: 1 the reverse SDE, 0 the probability-flow ODE; any other shares their marginals.

    Raises:
        ValueError: for an eta below 0.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not self.eta >= 0:
            raise ValueError(f"EulerMaruyama: eta must be at least 0; got {self.eta}")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        schedule = denoiser.schedule
        (alpha, sigma), f, g2, h = schedule(t), schedule.f(t), schedule.g2(t), t - s
        pull = (1 + self.eta**2) / 2 * g2 / sigma**2 * h  # x_s = x - h f x + pull (alpha D - x) + eta g sqrt(h) z
        return 1 - h * f - pull, pull * alpha, self.eta * torch.sqrt(g2 * h)


@dataclass(frozen=True)
class PredictorCorrector(Solver):
    """A predictor's step to s, then `corrections` Langevin steps at s (Song et al. 2021, alg. 2-3).

        x <- x + e score(x, s) + sqrt(2 e) z,    e = 2 (snr sigma_s)^2.

    Song et al. take e = 2 (snr |z| / |score|)^2 with the norms averaged over the batch; this is its value for |score| =
    |z| / sigma, the norm of a score of pure noise, so that no sample depends on its neighbours.

    Args:
        predictor: the step from t to s.
        corrections: Langevin steps after it.
        snr: r, the size of a Langevin step beside sigma: 0.16 is the paper's for VE.
        dynamics: the corrector, of step_size h / sigma^2 = 2 e / sigma^2 = 4 snr^2; with `Underdamped` the velocity
            goes on from level to level.

    Raises:
        ValueError: for less than one correction, or a snr outside (0, 1).
    """

    predictor: AffineSolver = field(default_factory=EulerMaruyama)
    corrections: int = 1
    snr: float = 0.16
    dynamics: Dynamics = field(default_factory=Overdamped)

    def __post_init__(self) -> None:
        if self.corrections < 1 or not 0 < self.snr < 1:
            raise ValueError(
                "PredictorCorrector: corrections must be at least 1 and snr positive, below 1 where it is stable; "
                f"got {self.corrections} and {self.snr}"
            )

    @property
    def evaluations(self) -> int:
        return 1 + self.corrections

    @property
    def stochastic(self) -> bool:
        return True

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        langevin = self.dynamics.coefficients(denoiser, s, 4 * self.snr**2)
        return list(zip(self.predictor.coefficients(denoiser, t, s), langevin, strict=True))

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        predictor, langevin = step.coefficients
        draw = step.index * (1 + self.corrections)
        carried = state.past
        state = self.predictor.step(denoise, state, Step(draw, step.t, step.s, predictor), normals)
        if langevin is None:
            return state
        state = state._replace(past=carried)
        for j in range(self.corrections):
            state = self.dynamics.step(denoise, state, step.s, langevin, draw + 1 + j, normals)
        return state


@dataclass(frozen=True)
class AnnealedLangevin(Solver):
    """Langevin dynamics at each noise level of the grid in turn (Song & Ermon 2019, alg. 1), on any schedule.

    At level t, `steps_per_level` times:  x <- x + (h/2) score(x, t) + sqrt(h) z  with h = step_size sigma(t)^2, the
    paper's h_i = h sigma_i^2 / sigma_L^2 (its 2e-5 at sigma_L = 0.01 is step_size = 0.2); then x is rescaled by alpha_s
    / alpha_t. A grid of one level, `tensor([t, 0])`, is plain Langevin dynamics on p_t.

    The chain lags behind the falling noise: Gaussian data comes out with a standard deviation too large by about
    1.3 / (step_size * Langevin steps per e-fold of sigma), 2.7% in 500 evaluations here and 13% at step_size = 0.2.

    Args:
        steps_per_level: Langevin steps at each level.
        step_size: h / sigma^2, below 4.
        denoise: end with E[x0 | x], which removes the noise of the last level; otherwise that noise stays.
        dynamics: what a Langevin step is.

    Raises:
        ValueError: for less than one step a level, or a step_size outside (0, 4).
    """

    steps_per_level: int = 5
    step_size: float = 1.0
    denoise: bool = True
    dynamics: Dynamics = field(default_factory=Overdamped)

    def __post_init__(self) -> None:
        if self.steps_per_level < 1 or not 0 < self.step_size < 4:
            raise ValueError(
                "AnnealedLangevin: steps_per_level must be at least 1 and step_size in (0, 4), the stable range; "
                f"got {self.steps_per_level} and {self.step_size}"
            )

    @property
    def evaluations(self) -> int:
        return self.steps_per_level

    @property
    def stochastic(self) -> bool:
        return True

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        closing = int(self.denoise and denoiser.schedule(0.0)[1] == 0)
        levels = (self.budget(nfe, self.evaluations + closing) - closing) // self.evaluations
        return self, default_grid(denoiser, levels, stochastic=True)

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        alpha = denoiser.schedule.alpha(t)
        alpha_s, sigma_s = denoiser.schedule(s)
        langevin = self.dynamics.coefficients(denoiser, t, self.step_size)
        rescale = torch.where(alpha > 0, alpha_s / alpha, 1.0)
        return list(zip(langevin, rescale.tolist(), (sigma_s == 0).tolist(), strict=True))

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        langevin, rescale, last = step.coefficients
        draw = step.index * self.steps_per_level
        for j in range(self.steps_per_level):
            state = self.dynamics.step(denoise, state, step.t, langevin, draw + j, normals)
        if last and self.denoise:
            x0 = denoise(state.x, step.t)
            return State(x0, x0)
        return state._replace(x=state.x * rescale) if rescale != 1 else state
