"""What the objectives of flow maps share: a datum's noising, the velocity there, and how the map changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.flowmaps.base import ConsistencyMap, FlowMap, Moved
from scorefield.flowmaps.circle import Circle
from scorefield.losses.denoising import draw
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, randn, uniforms
from scorefield.schedules import pad_right

LEAST = 1e-3  # the smallest angle a velocity is asked at, in radians
Weights = tuple[float, float]  # of guidance: the least and the largest that are learned


class Noised(NamedTuple):
    """A datum's noising, and what its path does there."""

    z: Tensor
    theta: Tensor  # (B,)
    v: Tensor  # dz/dtheta, of the teacher or conditional
    cond: dict[str, Any]


def noised(
    flow_map: FlowMap,
    x0: Tensor,
    teacher: Denoiser | None,
    guidance: Weights | None,
    t: Tensor | None,
    eps: Tensor | None,
    generator: Randomness,
    times: TimeLaw | None,
    cond: Mapping[str, Any] | None,
) -> Noised:
    """z = cos(theta) (x0 - m) / sd + sin(theta) eps, at the angle of t.

    Raises:
        ValueError: for weights of guidance without a teacher that is guided, or that do not hold 1.
    """
    told = dict(Conditions.of(cond, len(x0), x0.dtype, x0.device))
    t, eps = draw(x0, t, eps, generator, times)
    circle = flow_map.circle
    theta = circle.place(t).theta.expand(len(x0)).clamp(min=LEAST)
    c, s = (pad_right(f(theta), x0) for f in (torch.cos, torch.sin))
    y = (x0 - circle.mean(x0)) / circle.data_std
    z = c * y + s * eps
    if guidance is not None:
        low, high = guidance
        if teacher is None or not low <= 1 <= high:
            raise ValueError(f"guidance needs a guided teacher, and weights that hold 1; got {guidance}, {teacher}")
        told["guidance"] = (low + (high - low) * uniforms(len(x0), generator)).to(x0)
    if teacher is None:
        v = c * eps - s * y
    else:
        with torch.no_grad():
            v = velocity(flow_map, teacher, z, theta, told)
    return Noised(z, theta, v, told)


def velocity(flow_map: FlowMap, teacher: Denoiser | None, z: Tensor, theta: Tensor, cond: Mapping[str, Any]) -> Tensor:
    """dz/dtheta on the map's circle: of its diagonal, or of a teacher on whatever process."""
    if teacher is None:
        return flow_map.mean_velocity(z, theta, theta, **cond)
    own, its = flow_map.circle, Circle(teacher.schedule, flow_map.data_mean, flow_map.data_std)
    here = its.at(theta)
    with evaluating(teacher):
        x0 = teacher(its.x(z, here), here.t, **cond)
    y = (x0 - own.mean(x0)) / own.data_std
    return (pad_right(torch.cos(theta), z) * z - y) / pad_right(torch.sin(theta), z)


def below(theta: Tensor, generator: Randomness) -> Tensor:
    """Where to go from theta: uniform below it."""
    return (theta * uniforms(len(theta), generator)).clamp(min=LEAST)


def moved(
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


def drawn(
    consistency_map: ConsistencyMap,
    like: Tensor,
    cond: Mapping[str, Any],
    generator: Randomness,
    eps: Tensor | None = None,
) -> Tensor:
    """Samples `(B, *event)` of its `jumps`, as `Jump(renoise=1)` takes them, differentiable through all of them.

    `eps` is what the first jump begins with, if given.
    """
    circle, jumps = consistency_map.circle, consistency_map.jumps or 1

    def noise() -> Tensor:
        return randn(like.shape, generator, like.dtype, like.device)

    def jump(z: Tensor, theta: Tensor) -> Tensor:
        here = circle.at(theta)
        return consistency_map(circle.x(z, here), here.t, **cond)

    first, *others = circle.limit * (jumps - torch.arange(jumps, dtype=torch.float64, device="cpu")) / jumps
    x = jump(noise() if eps is None else eps, first)
    for theta in others:
        y = (x - circle.mean(x)) / circle.data_std
        x = jump(torch.cos(theta) * y + torch.sin(theta) * noise(), theta)
    return x


def needs(flow_map: FlowMap, kind: type[FlowMap], who: str) -> None:
    """Refuses an objective a map of another kind than it trains.

    Raises:
        TypeError: for such a map.
    """
    if isinstance(flow_map, ConsistencyMap) != (kind is ConsistencyMap):
        raise TypeError(f"{who} trains a {kind.__name__}; got {type(flow_map).__name__}")


def weighted(flow_map: FlowMap, at: Noised, weight: Weight | None, value: Tensor) -> Tensor:
    return value if weight is None else weight(flow_map.schedule, flow_map.circle.at(at.theta).t).to(value) * value


def mean_square(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)
