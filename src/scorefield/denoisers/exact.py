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
    """The denoiser of a distribution whose noised laws are known in closed form: no network, no training, no error.

    Raises:
        TypeError: for what is no distribution, or no schedule.
        ValueError: when called, for events of another shape than the law's.
    """

    def __init__(self, distribution: Distribution, schedule: Schedule) -> None:
        super().__init__()
        for name, value, kind in (("distribution", distribution, Distribution), ("schedule", schedule, Schedule)):
            if not isinstance(value, kind):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"{name} must be a {kind.__name__}; got {getattr(value, '__name__', type(value).__name__)}"
                )
        self.distribution = distribution
        self.schedule = schedule
        self.data_mean = distribution.mean
        self.data_std = float(distribution.variance.mean().sqrt())

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        if x_t.shape[1:] != self.distribution.event_shape:
            wanted = ", ".join(map(str, ("B", *self.distribution.event_shape)))
            raise ValueError(f"x_t must have shape ({wanted}), a sample of the law in each row; got {tuple(x_t.shape)}")
        alpha, sigma = self.schedule(t)
        return self.distribution.denoise(x_t, alpha, sigma)
