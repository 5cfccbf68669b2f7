"""What makes a network a flow map: losses like those of `losses`, for `training.fit(flow_map, data, loss=...)`.

All draw a datum's noising z at the angle theta of its t, and where to go, phi, uniformly below it. The velocity is that
of a `teacher`, any denoiser (its ODE is then what is learned), or, without one, of the data: the conditional velocity
cos(theta) eps - sin(theta) (x0 - m) / sd, whose mean given z it is. Each is a mean over the event's entries, `(B,)`;
where the gradient is not of what is written down, the loss is a mapping whose "reference" is comparable from step to
step and is logged beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.flowmaps.base import FlowMap, Moved
from scorefield.flowmaps.circle import Circle
from scorefield.losses.denoising import draw
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, uniforms
from scorefield.schedules import pad_right

LEAST = 1e-3  # the smallest angle a velocity is asked at, in radians


class _Draw(NamedTuple):
    z: Tensor
    theta: Tensor  # (B,)
    phi: Tensor  # (B,)
    v: Tensor  # dz/dtheta, of the teacher or conditional
    cond: dict[str, Any]


def lagrangian(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    differences: float | None = None,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """||u(z, theta, theta) - v||^2 / d + ||d/dphi X - velocity(X, phi)||^2 / d: Lagrangian self-distillation.

    With a teacher its velocity stands in both terms; without, the map's own diagonal, without gradient, in the second.

    Args:
        teacher: whose ODE is learned; none: that of the data.
        differences: the step of central differences instead of forward mode (see `FlowMap.moved_by_differences`).
        t, eps, generator, times, cond: as for `losses.denoising`; `weight` of t multiplies the sum.

    References:
        Boffi, Albergo & Vanden-Eijnden 2025 ("How to build a consistency model").
    """
    at = _draw(flow_map, x0, teacher, t, eps, generator, times, cond)
    diagonal = flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond) - at.v
    u, rate = _moved(flow_map, differences, at.z, at.theta, at.phi, None, 0.0, 1.0, at.cond)
    gap = pad_right(at.theta - at.phi, at.z)
    end, motion = at.z - gap * u, u - gap * rate
    with torch.no_grad():
        v = _velocity(flow_map, teacher, end, at.phi, at.cond)
    return _weighted(flow_map, at, weight, _mean(diagonal) + _mean(motion - v))


def mean_flow(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    differences: float | None = None,
    adaptive: float = 0.0,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """||u - [v - (theta - phi) du/dtheta]||^2 / d + the diagonal's, the bracket without gradient: MeanFlow.

    du/dtheta is along the path, in the direction of the map's own diagonal, not of the conditional velocity, which is
    what improved MeanFlow changed: the target then depends on the noise only through v, linearly.

    Args:
        adaptive: p of 1 / (|residual|^2 / d + 1e-3)^p, which multiplies each sample's loss, without gradient.
        flow_map, x0, teacher, differences, t, eps, generator, weight, times, cond: as for `lagrangian`.

    Returns:
        loss: what is made smaller; reference: the same with p = 0.

    References:
        Geng et al. 2025a (MeanFlow), 2025b (improved).
    """
    at = _draw(flow_map, x0, teacher, t, eps, generator, times, cond)
    own = flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond)
    along = own.detach() if teacher is None else at.v
    with torch.no_grad():
        rate = _moved(flow_map, differences, at.z, at.theta, at.phi, along, 1.0, 0.0, at.cond).rate
    u = flow_map.mean_velocity(at.z, at.theta, at.phi, **at.cond)
    target = at.v - pad_right(at.theta - at.phi, at.z) * rate
    reference = _weighted(flow_map, at, weight, _mean(own - at.v) + _mean(u - target))
    scale = (reference.detach() + 1e-3) ** -adaptive
    return {"loss": scale * reference, "reference": reference.detach()}


def consistency(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    differences: float | None = None,
    normalise: float = 0.1,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Where on its path a sample stands does not matter: X(z; theta, 0) is moved along its tangent

        g = d/dtheta X(z; theta, 0) = v - u - theta du/dtheta,    loss ||u - (u + g / (|g| + c))||^2 / d,

    the bracket without gradient, |g| the root mean square of its entries and c = `normalise`: continuous-time
    consistency with tangent normalisation. The diagonal is learned beside it, so that the map's own velocity is there.

    Args:
        flow_map, x0, teacher, differences, t, eps, generator, weight, times, cond: as for `lagrangian`.

    Returns:
        loss: whose gradient is the tangent's; reference: |g|^2 / d and the diagonal's loss.

    References:
        Song et al. 2023; Lu & Song 2024 (sCM).
    """
    at = _draw(flow_map, x0, teacher, t, eps, generator, times, cond)
    diagonal = _mean(flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond) - at.v)
    end = torch.zeros_like(at.theta)
    with torch.no_grad():
        u, rate = _moved(flow_map, differences, at.z, at.theta, end, at.v, 1.0, 0.0, at.cond)
        g = at.v - u - pad_right(at.theta, at.z) * rate
        size = pad_right(_mean(g).sqrt(), g)
        target = u + g / (size + normalise)
    u = flow_map.mean_velocity(at.z, at.theta, end, **at.cond)
    loss = _weighted(flow_map, at, weight, diagonal + _mean(u - target))
    return {"loss": loss, "reference": diagonal.detach() + _mean(g)}


def drifting(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    bandwidth: float = 0.3,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """One jump from pure noise, moved by the difference of two smoothed scores, with no path and no time.

        x = X(z; t = 1, t = 0),    V(x) = h^2 [grad log p_h(x) - grad log q_h(x)],    loss ||x - (x + V)||^2 / d

    the bracket without gradient; p_h and q_h are the data and what the map draws, each blurred by a Gaussian of
    standard deviation h. h^2 grad log p_h(x) = m_p(x) - x, m_p the kernel mean of the data about x: so V = m_p - m_q,
    two mean shifts, and V = 0 everywhere if and only if q = p. m_p is the mean over the batch, or E[x0 | x] of a
    `teacher` at sigma / alpha = h; m_q always over the batch. So a sample's loss depends on its batch: the second
    stated exception.

    Args:
        bandwidth: h, in units of the data's standard deviation.
        t, times, weight: of no meaning here.
        cond: refused: kernel means over a batch of several classes would draw each class towards all.
        flow_map, x0, teacher, eps, generator: as for `lagrangian`.

    Raises:
        ValueError: for conditions.

    Returns:
        loss, and as reference the same: |V|^2 / d, which is comparable from step to step.

    References:
        Deng et al. 2026 (drifting); Fukunaga & Hostetler 1975 (mean shift); the identity is Tweedie's.
    """
    if cond:
        raise ValueError(f"drifting compares data with draws, of whatever condition; got {', '.join(cond)}")
    one = torch.ones(len(x0), dtype=torch.float64, device="cpu")
    _, eps = draw(x0, one, eps, generator, None)
    circle, sd = flow_map.circle, flow_map.data_std
    x = flow_map(circle.x(eps, circle.place(one)), one, 0 * one)
    with torch.no_grad():
        h = bandwidth * sd
        if teacher is None:
            data = _kernel_mean(x, x0, h)
        else:
            level = teacher.schedule.time_of_log_snr(-torch.log(torch.tensor(h, dtype=torch.float64, device="cpu")))
            with evaluating(teacher):
                data = teacher(pad_right(teacher.schedule.alpha(level), x) * x, level)
        shift = data - _kernel_mean(x, x, h)
    value = _mean((x - (x + shift).detach()) / sd)
    return {"loss": value, "reference": value.detach()}


def _kernel_mean(x: Tensor, of: Tensor, h: float) -> Tensor:
    """sum_j k_ij of_j / sum_j k_ij, k the Gaussian kernel of standard deviation h."""
    share = torch.softmax(-torch.cdist(x.flatten(1), of.flatten(1)).square() / (2 * h * h), 1)
    return (share @ of.flatten(1)).reshape(x.shape)


def _draw(
    flow_map: FlowMap,
    x0: Tensor,
    teacher: Denoiser | None,
    t: Tensor | None,
    eps: Tensor | None,
    generator: Randomness,
    times: TimeLaw | None,
    cond: Mapping[str, Any] | None,
) -> _Draw:
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times)
    circle = flow_map.circle
    theta = circle.place(t).theta.expand(len(x0)).clamp(min=LEAST)
    phi = (theta * uniforms(len(x0), generator)).clamp(min=LEAST)
    c, s = (pad_right(f(theta), x0) for f in (torch.cos, torch.sin))
    y = (x0 - circle.mean(x0)) / circle.data_std
    z = c * y + s * eps
    if teacher is None:
        v = c * eps - s * y
    else:
        with torch.no_grad():
            v = _velocity(flow_map, teacher, z, theta, dict(told))
    return _Draw(z, theta, phi, v, dict(told))


def _velocity(flow_map: FlowMap, teacher: Denoiser | None, z: Tensor, theta: Tensor, cond: Mapping[str, Any]) -> Tensor:
    """dz/dtheta on the map's circle: of its diagonal, or of a teacher on whatever process."""
    if teacher is None:
        return flow_map.mean_velocity(z, theta, theta, **cond)
    own, its = flow_map.circle, Circle(teacher.schedule, flow_map.data_mean, flow_map.data_std)
    here = its.at(theta)
    with evaluating(teacher):
        x0 = teacher(its.x(z, here), here.t, **cond)
    y = (x0 - own.mean(x0)) / own.data_std
    return (pad_right(torch.cos(theta), z) * z - y) / pad_right(torch.sin(theta), z)


def _moved(
    flow_map: FlowMap,
    differences: float | None,
    z: Tensor,
    theta: Tensor,
    phi: Tensor,
    dz: Tensor | None,
    dtheta: float,
    dphi: float,
    cond: Mapping[str, Any],
) -> Moved:
    if differences is None:
        return flow_map.moved(z, theta, phi, dz, dtheta, dphi, **cond)
    return flow_map.moved_by_differences(z, theta, phi, dz, dtheta, dphi, step=differences, **cond)


def _weighted(flow_map: FlowMap, at: _Draw, weight: Weight | None, value: Tensor) -> Tensor:
    return value if weight is None else weight(flow_map.schedule, flow_map.circle.at(at.theta).t).to(value) * value


def _mean(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)
