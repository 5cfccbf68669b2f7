"""Flows: an ODE that carries any law to the data, learned from pairs of their draws.

With a pair (x0, x1) of a datum and a draw of the origin, x_t = alpha x0 + sigma x1 and

    v(x, t) = alpha' E[x0 | x_t = x] + sigma' E[x1 | x_t = x],

the ODE dx/dt = v(x, t) has the laws of x_t at every t, whatever law x1 has and however it depends on x0 (Lipman et al.
2023; Liu et al. 2023; Albergo & Vanden-Eijnden 2023). With independent standard normal x1 it is the probability-flow
ODE, and the network a `NetworkDenoiser`. Pairs that lie near each other, an optimal coupling (`losses.couplings`), make
paths straighter, and few steps enough (Pooladian et al. 2023; Tong et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.denoisers.base import Denoiser
from scorefield.denoisers.network import NetworkDenoiser
from scorefield.distributions import Distribution
from scorefield.parameterizations import Parameterization, Velocity, convert
from scorefield.schedules import PriorMoments, Rectified, Schedule, as_time, floats

NO_SCORE = (
    "its pairs are not data with independent Gaussian noise, so the field it learned is the velocity of an ODE and no "
    "gradient; for a score, train a NetworkDenoiser with losses.flow_matching"
)


class Flow(NetworkDenoiser):
    """A network trained on pairs of any origin and coupling: E[x0 | x_t], where x_t = alpha x0 + sigma x1.

    It samples by solvers of ODEs, encodes, and has a likelihood through its origin. It has no score, and what needs one
    (stochastic solvers, guidance by a classifier, posteriors, bounds) refuses it.

    Args:
        net, level, data_mean, data_std: as for `NetworkDenoiser`.
        schedule: alpha and sigma, 0 and 1 at t = 1; straight paths unless given.
        parameterization: of the output; the velocity unless given.
        origin: the law of x1; the standard normal unless given.

    Raises:
        ValueError: for a schedule that does not end at x1 itself, or is not at the datum at t = 0.
        TypeError: as `NetworkDenoiser`, and for an origin that is no Distribution.
    """

    lacks = MappingProxyType({"score": NO_SCORE})

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule | None = None,
        parameterization: Parameterization | None = None,
        *,
        origin: Distribution | None = None,
        level: str | Callable[[Tensor], Tensor] | None = None,
        data_mean: Tensor | float = Denoiser.data_mean,
        data_std: float = Denoiser.data_std,
    ) -> None:
        schedule = Rectified() if schedule is None else schedule
        super().__init__(
            net, schedule, parameterization or Velocity(), level=level, data_mean=data_mean, data_std=data_std
        )
        ends = torch.stack([torch.stack(schedule(t)) for t in (0.0, 1.0)])
        if not torch.allclose(ends, torch.eye(2, dtype=ends.dtype, device="cpu"), atol=1e-6):
            raise ValueError(
                f"schedule must be at the datum at t = 0 and at the origin at t = 1, (alpha, sigma) = (1, 0) and "
                f"(0, 1), as Rectified() is; {schedule} has {floats(ends[0])} and {floats(ends[1])}"
            )
        if origin is not None and not isinstance(origin, Distribution):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"origin must be a Distribution, or None for the standard normal; got {origin!r}")
        self.origin = origin

    def velocity(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        """dx/dt, at t = 0 too, where E[x0 | x_t] = x_t says nothing of it."""
        t = as_time(t)
        return convert(self.parameterization, Velocity(), self.schedule, x_t, self.output(x_t, t, **cond), t)

    def prior(self, t: Tensor | float = 1.0) -> PriorMoments:
        """The mean and variance of x_t where x0 and x1 are independent; at t = 1 those of the origin."""
        moments = super().prior(t)
        if self.origin is None:
            return moments
        alpha, sigma = self.schedule(t)
        std = (alpha**2 * self.data_std**2 + sigma**2 * float(self.origin.variance.mean())).sqrt()
        mean = self.origin.mean
        return PriorMoments(alpha.to(mean) * self.data_mean + sigma.to(mean) * mean, std)
