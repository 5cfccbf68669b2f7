"""Ancestral sampling (DDPM) and DDIM, on any schedule and any grid.

One step of the forward process from s to t > s is p(x_t | x_s) = N(a x_s, b^2 I) with

    a = alpha_t / alpha_s,    b^2 = sigma_t^2 - a^2 sigma_s^2;        in DDPM's chain a^2 = 1 - beta_t,  b^2 = beta_t.

Turned round by Bayes' rule, x_0 replaced by its prediction D = E[x_0 | x_t], it is the ancestral step q(x_s | x_t, D),

    DDPM       x_s = a (sigma_s / sigma_t)^2 x_t + alpha_s (b / sigma_t)^2 D + b (sigma_s / sigma_t) z.

DDIM keeps the marginals p(x_s | x_0) with any noise up to that, and takes the rest from the noise it finds in x_t, eps
= (x_t - alpha_t D) / sigma_t:

    DDIM(eta)  x_s = alpha_s D + sqrt(sigma_s^2 - sigma_eta^2) eps + sigma_eta z,  sigma_eta = eta b sigma_s / sigma_t.

With eta = 1 the two are one; with eta = 0 it is the exponential-Euler step of the probability-flow ODE, of first order.
For a variance-preserving process alpha^2 = abar and sigma^2 = 1 - abar give the equations as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import AffineSolver


@dataclass(frozen=True)
class DDPM(AffineSolver):
    """The ancestral step (Ho et al. 2020, eq. 6-7 and alg. 2).

        x_s = a (sigma_s / sigma_t)^2 x_t + alpha_s (b / sigma_t)^2 D + b (sigma_s / sigma_t) z,

    a = alpha_t / alpha_s and b^2 = sigma_t^2 - a^2 sigma_s^2 those of the forward step p(x_t | x_s).

    Args:
        large_variance: add the forward step's noise, b z, instead: beta_t, an upper bound of the variance x_s should
            have, where the posterior's is a lower one. They agree as the grid is refined.
    """

    large_variance: bool = False

    @property
    def stochastic(self) -> bool:
        return True

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sigma_t, (alpha_s, sigma_s) = denoiser.schedule.sigma(t), denoiser.schedule(s)
        a, b = denoiser.schedule.transition(s, t)
        noise = b if self.large_variance else b * sigma_s / sigma_t
        return a * (sigma_s / sigma_t) ** 2, alpha_s * (b / sigma_t) ** 2, noise


@dataclass(frozen=True)
class DDIM(AffineSolver):
    """The step of Song et al. 2021a, eq. 12 and 16.

        x_s = alpha_s D + sqrt(sigma_s^2 - sigma_eta^2) (x_t - alpha_t D) / sigma_t + sigma_eta z,

    sigma_eta = eta b sigma_s / sigma_t, b^2 = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2.

    Args:
        eta: 0 deterministic, 1 ancestral.

    Raises:
        ValueError: for an eta outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"DDIM: eta must lie in [0, 1]; got {self.eta}")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
        b = denoiser.schedule.transition(s, t).std
        noise = self.eta * b * sigma_s / sigma_t
        x = torch.sqrt(sigma_s**2 - noise**2) / sigma_t
        return x, alpha_s - alpha_t * x, noise
