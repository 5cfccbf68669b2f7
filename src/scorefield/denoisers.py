"""Denoisers: E[x0 | x_t], the one thing every method here is built on.

From D(x_t, t) = E[x0 | x_t] Tweedie's formula gives the rest,

    eps   = (x_t - alpha D) / sigma
    score = -eps / sigma = grad log p_t
    v     = alpha eps - sigma D
    dx/dt = alpha' D + sigma' eps                       (velocity of the probability-flow ODE)
    Cov[x0 | x_t] = (sigma^2 / alpha) dD/dx_t           (second order)

so a model is whatever can denoise, and it carries the schedule of the noise it removes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from scorefield.distributions import Distribution
from scorefield.parameterizations import X0, Eps, Parameterization, Score, V, Velocity, convert
from scorefield.schedules import Schedule, as_time, pad_right


class Denoiser(nn.Module):
    """`denoiser(x_t, t, **cond)` is E[x0 | x_t], of the shape and dtype of `x_t` `(B, *event)`; `t` is `()` or `(B,)`.

    Write your own by setting `schedule` and defining `forward(x_t, t, **cond)`: nothing else is required. `data_mean`
    and `data_std` describe the data (where sampling starts, and how solvers place their steps); 0 and 1 unless known.
    """

    schedule: Schedule
    data_mean: Tensor | float = 0.0
    data_std: float = 1.0


class NoiseConditional(nn.Module):
    """A network, the schedule of the noise in its input, and how it is told of it.

    Args:
        net: called as `net(c_in x_t, level, **cond)`, `level` of shape `(B,)` in the dtype of `x_t`.
        schedule: the noise it was trained on.
        parameterization: what its output means, how its input is scaled and what `level` is.
        level: replaces the parameterisation's noise level by a function of t, for networks that expect another number,
            e.g. `lambda t: 1000 * t - 1` for DDPM's integer steps.
        data_mean, data_std: of the data it was trained on.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        *,
        level: Callable[[Tensor], Tensor] | None = None,
        data_mean: Tensor | float = 0.0,
        data_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule
        self.parameterization = parameterization
        self.level = level
        self.data_mean = data_mean  # a plain attribute, moved to x's device where it is used
        self.data_std = data_std

    def output(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        """The network's raw output: what training losses compare with the target."""
        t = as_time(t)
        if t.ndim and t.shape != x_t.shape[:1]:
            raise ValueError(f"t must have shape () or ({len(x_t)},), one time for each of x_t; got {tuple(t.shape)}")
        level = self.level(t) if self.level else self.parameterization.noise_level(self.schedule, t)
        level = level.to(x_t.device, x_t.dtype).expand(len(x_t))
        return self.net(pad_right(self.parameterization.input_scale(self.schedule, t), x_t) * x_t, level, **cond)


class NetworkDenoiser(NoiseConditional, Denoiser):
    """Any network, trained on any schedule and target, as a denoiser: `output` is a prediction of the target."""

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        return self.parameterization.x0(self.schedule, x_t, self.output(x_t, t, **cond), t)


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


def eps(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """E[eps | x_t] = (x_t - alpha D) / sigma. Undefined, and refused, where sigma = 0."""
    return _view(Eps(), denoiser, x_t, t, cond)


def score(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """grad_x log p_t(x) = (alpha D - x_t) / sigma^2. Undefined, and refused, where sigma = 0."""
    return _view(Score(), denoiser, x_t, t, cond)


def v(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """alpha E[eps | x_t] - sigma D. Undefined, and refused, where sigma = 0."""
    return _view(V(), denoiser, x_t, t, cond)


def velocity(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """dx/dt = alpha' D + sigma' E[eps | x_t] of the probability-flow ODE. Undefined, and refused, where sigma = 0."""
    return _view(Velocity(), denoiser, x_t, t, cond)


def _view(
    goal: Parameterization, denoiser: Denoiser, x_t: Tensor, t: Tensor | float, cond: Mapping[str, Any]
) -> Tensor:
    return convert(X0(), goal, denoiser.schedule, x_t, denoiser(x_t, t, **cond), t)


def covariance(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor | float,
    u: Tensor,
    *,
    mode: Literal["vjp", "jvp"] = "vjp",
    **cond: Any,
) -> Tensor:
    """Cov[x0 | x_t] @ u = (sigma^2 / alpha) (dD/dx_t) u for `u` `(B, *event)`, without forming the matrix.

    The Jacobian of the exact denoiser is symmetric, so `vjp` (reverse mode, works for every network) and `jvp` (forward
    mode) agree; where a trained network's do not, their difference measures how far its score is from a gradient.
    """
    alpha, sigma = denoiser.schedule(t)

    def denoise(x: Tensor) -> Tensor:
        return denoiser(x, t, **cond)

    if mode == "vjp":
        x = x_t.detach().requires_grad_()
        with torch.enable_grad():
            (product,) = torch.autograd.grad(denoise(x), x, u)
    elif mode == "jvp":
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
            product: Tensor = torch.func.jvp(denoise, (x_t,), (u,))[1]
    else:
        raise ValueError(f"mode must be 'vjp' or 'jvp'; got {mode!r}")
    return pad_right(sigma**2 / alpha, product) * product
