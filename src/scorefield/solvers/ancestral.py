"""Ancestral sampling (DDPM) and DDIM.

With the posterior q(x_s | x_t, x_0) of any schedule and x_0 replaced by its prediction D(x_t, t),

    DDPM:       x_s = E_q[x_s | x_t, D] + std_q z
    DDIM(eta):  x_s = alpha_s D + sqrt(sigma_s^2 - sigma_eta^2) eps + sigma_eta z,   sigma_eta = eta std_q

DDIM with eta = 1 is DDPM; with eta = 0 it is the exponential-Euler step of the probability-flow ODE, of first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import AffineSolver


@dataclass(frozen=True)
class DDPM(AffineSolver):
    """The ancestral step (Ho et al. 2020, alg. 2) on any schedule and grid.

    Args:
        large_variance: add the variance of the forward step p(x_t | x_s), beta_t, an upper bound, instead of the
            posterior's, a lower one. They agree as the grid is refined.
    """

    large_variance: bool = False

    @property
    def stochastic(self) -> bool:
        return True

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_t_scale, x0_scale, std = denoiser.schedule.posterior(s, t)
        if self.large_variance:
            std = denoiser.schedule.transition(s, t).std
        return x_t_scale, x0_scale, std


@dataclass(frozen=True)
class DDIM(AffineSolver):
    """Song et al. 2021a, eq. 12, on any schedule and grid. eta: 0 deterministic, 1 ancestral."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"DDIM: eta must lie in [0, 1]; got {self.eta}")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha_t, sigma_t = denoiser.schedule(t)
        alpha_s, sigma_s = denoiser.schedule(s)
        noise = self.eta * denoiser.schedule.posterior(s, t).std
        x = torch.sqrt(sigma_s**2 - noise**2) / sigma_t
        return x, alpha_s - alpha_t * x, noise
