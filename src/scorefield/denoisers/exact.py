"""The denoiser of a law known in closed form.

    D(x_t, t) = E[x0 | x_t] = int x0 p(x0) N(x_t; alpha x0, sigma^2 I) dx0 / int p(x0) N(x_t; alpha x0, sigma^2 I) dx0

`distributions` has these integrals for Gaussians, their mixtures, boxes and data sets. It is what a network would learn
of them, so whatever is built on a denoiser can be checked against an answer.
"""

from __future__ import annotations

from torch import Tensor

from scorefield.denoisers.base import Denoiser
from scorefield.distributions import Distribution
from scorefield.schedules import Schedule


class ExactDenoiser(Denoiser):
    """The denoiser of a distribution whose noised laws are known in closed form: no network, no training, no error."""

    def __init__(self, distribution: Distribution, schedule: Schedule) -> None:
        super().__init__()
        self.distribution = distribution
        self.schedule = schedule
        self.data_mean = distribution.mean
        self.data_std = float(distribution.variance.mean().sqrt())

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = self.schedule(t)
        return self.distribution.denoise(x_t, alpha, sigma)
