"""What else a denoiser predicts: noise, score, v, velocity, and the covariance of x0 given x_t.

All are functions of D(x_t, t) = E[x0 | x_t]; the formulas are those of `denoisers.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from scorefield.denoisers.base import Denoiser, require
from scorefield.denoisers.gradients import differentiable
from scorefield.forward_mode import jvp
from scorefield.parameterizations import X0, Eps, Parameterization, Score, V, Velocity, convert
from scorefield.schedules import as_time, pad_right


def eps(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """E[eps | x_t] = (x_t - alpha D) / sigma. Undefined, and refused, where sigma = 0."""
    return _view(Eps(), denoiser, x_t, t, cond)


def score(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
    """grad_x log p_t(x) = (alpha D - x_t) / sigma^2. Undefined, and refused, where sigma = 0, and for a `Flow`."""
    require(denoiser, "score", "score")
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
    require(denoiser, "velocity", type(goal).__name__.lower())
    t = as_time(t)
    if bool((clean := denoiser.schedule.sigma(t) == 0).any()):
        name, at = type(goal).__name__.lower(), float(t[clean].flatten()[0] if t.ndim else t)
        raise ValueError(f"{name} is undefined where sigma = 0, at t = {at:g}: evaluate it at a larger t")
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

    Raises:
        ValueError: for another mode, a `Flow`, or where alpha = 0 and D does not depend on x_t.
    """
    require(denoiser, "score", "covariance")
    alpha, sigma = denoiser.schedule(t)
    if bool((alpha == 0).any()):
        raise ValueError("the covariance can't be had from D where alpha = 0, at t = 1: evaluate it at a smaller t")

    def denoise(x: Tensor) -> Tensor:
        return denoiser(x, t, **cond)

    if mode == "vjp":
        with differentiable():
            x = x_t.detach().clone().requires_grad_()
            (product,) = torch.autograd.grad(denoise(x), x, u)
    elif mode == "jvp":
        product = jvp(denoise, (x_t,), (u,))[1]
    else:
        raise ValueError(f"mode must be 'vjp' or 'jvp'; got {mode!r}")
    return pad_right(sigma**2 / alpha, product) * product
