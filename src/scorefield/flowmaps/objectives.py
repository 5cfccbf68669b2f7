"""What makes a network a flow map: losses like those of `losses`, for `training.fit(flow_map, data, loss=...)`.

Both draw a datum's noising z at the angle theta of its t, and where to go, phi, uniformly below it. The velocity is
that of a `teacher`, any denoiser (its ODE is then what is learned), or, without one, of the data: the conditional
velocity cos(theta) eps - sin(theta) (x0 - m) / sd, whose mean given z it is. Each is a mean over the event's entries,
`(B,)`; where the gradient is not of what is written down, the loss is a mapping whose "reference" is comparable from
step to step and is logged beside it. `to_data` has those of maps that know the jumps to the data alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.flowmaps.base import FlowMap
from scorefield.flowmaps.noising import Weights, below, mean_square, moved, needs, noised, velocity, weighted
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness
from scorefield.schedules import pad_right


def lagrangian(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    guidance: Weights | None = None,
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
        guidance: the least and the largest weight of a guided teacher: the map's network learns all between, and is
            told which, so that it is built with `scalars=("until", "guidance")`.
        differences: the step of central differences instead of forward mode (see `FlowMap.moved_by_differences`).
        t, eps, generator, times, cond: as for `losses.denoising`; `weight` of t multiplies the sum.

    Raises:
        TypeError: for a ConsistencyMap, which is told no second time.
        ValueError: for weights of guidance without a guided teacher, or that do not hold 1.

    References:
        Boffi, Albergo & Vanden-Eijnden 2025 ("How to build a consistency model").
    """
    needs(flow_map, FlowMap, "lagrangian")
    at = noised(flow_map, x0, teacher, guidance, t, eps, generator, times, cond)
    phi = below(at.theta, generator)
    diagonal = flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond) - at.v
    u, rate = moved(flow_map, differences, at.z, at.theta, phi, None, 0.0, 1.0, at.cond)
    gap = pad_right(at.theta - phi, at.z)
    end, motion = at.z - gap * u, u - gap * rate
    with torch.no_grad():
        v = velocity(flow_map, teacher, end, phi, at.cond)
    return weighted(flow_map, at, weight, mean_square(diagonal) + mean_square(motion - v))


def mean_flow(
    flow_map: FlowMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    guidance: Weights | None = None,
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
        flow_map, x0, teacher, guidance, differences, t, eps, generator, weight, times, cond: as for `lagrangian`.

    Returns:
        loss: what is made smaller; reference: the same with p = 0.

    Raises:
        TypeError, ValueError: as `lagrangian`.

    References:
        Geng et al. 2025a (MeanFlow), 2025b (improved).
    """
    needs(flow_map, FlowMap, "mean_flow")
    at = noised(flow_map, x0, teacher, guidance, t, eps, generator, times, cond)
    phi = below(at.theta, generator)
    own = flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond)
    along = own.detach() if teacher is None else at.v
    with torch.no_grad():
        rate = moved(flow_map, differences, at.z, at.theta, phi, along, 1.0, 0.0, at.cond).rate
    u = flow_map.mean_velocity(at.z, at.theta, phi, **at.cond)
    target = at.v - pad_right(at.theta - phi, at.z) * rate
    reference = weighted(flow_map, at, weight, mean_square(own - at.v) + mean_square(u - target))
    scale = (reference.detach() + 1e-3) ** -adaptive
    return {"loss": scale * reference, "reference": reference.detach()}
