"""Objectives of a `ConsistencyMap`, whose jumps all lead to the data; used as those of `objectives` are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.flowmaps.base import ConsistencyMap
from scorefield.flowmaps.noising import Weights, drawn, mean_square, moved, needs, noised, weighted
from scorefield.losses.denoising import draw
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness
from scorefield.schedules import pad_right


def consistency(
    flow_map: ConsistencyMap,
    x0: Tensor,
    *,
    teacher: Denoiser | None = None,
    guidance: Weights | None = None,
    gap: float | None = None,
    differences: float | None = None,
    normalise: float = 0.1,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Where on its path a sample stands does not matter: y(z, theta), the end in z's units, has no tangent

        y = cos(theta) z - sin(theta) u,    g = dy/dtheta = cos(theta) (v - u) - sin(theta) (z + du/dtheta),
        loss ||u - (u + g / (|g| + c))||^2 / d,

    the bracket without gradient, |g| the root mean square of its entries and c = `normalise`: continuous-time
    consistency with tangent normalisation. With a `gap` the tangent is a difference instead,

        g = [y(z, theta) - y(z', theta')] / (theta - theta'),    theta' = (1 - gap) theta,

    z' where the velocity at z leads by a rotation (DDIM's step of the teacher; without one, the same datum and noise):
    easy consistency, two plain evaluations. It errs with the gap, and less with a smaller one.

    Args:
        gap: share of theta; none: the tangent itself.
        flow_map, x0, teacher, guidance, differences, t, eps, generator, weight, times, cond: as for `lagrangian`.

    Returns:
        loss: whose gradient is the tangent's; reference: |g|^2 / d.

    Raises:
        TypeError: for a map that is no ConsistencyMap.
        ValueError: for a gap outside (0, 1); as `lagrangian`.

    References:
        Song et al. 2023; Lu & Song 2024 (sCM); Geng et al. 2024 (easy consistency).
    """
    needs(flow_map, ConsistencyMap, "consistency")
    if gap is not None and not 0 < gap < 1:
        raise ValueError(f"gap must lie in (0, 1); got {gap}")
    at = noised(flow_map, x0, teacher, guidance, t, eps, generator, times, cond)
    c, s = (pad_right(f(at.theta), x0) for f in (torch.cos, torch.sin))
    u = flow_map.mean_velocity(at.z, at.theta, at.theta, **at.cond)
    with torch.no_grad():
        if gap is None:
            rate = moved(flow_map, differences, at.z, at.theta, at.theta, at.v, 1.0, 0.0, at.cond).rate
            g = c * (at.v - u) - s * (at.z + rate)
        else:
            less = at.theta * (1 - gap)
            back = at.theta - less
            z = pad_right(torch.cos(back), x0) * at.z - pad_right(torch.sin(back), x0) * at.v
            there = flow_map.mean_velocity(z, less, less, **at.cond)
            end = pad_right(torch.cos(less), x0) * z - pad_right(torch.sin(less), x0) * there
            g = (c * at.z - s * u - end) / pad_right(back, x0)
        size = pad_right(mean_square(g).sqrt(), g)
        target = u + g / (size + normalise)
    loss = weighted(flow_map, at, weight, mean_square(u - target))
    return {"loss": loss, "reference": mean_square(g)}


def drifting(
    flow_map: ConsistencyMap,
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
    """What the map draws in `flow_map.jumps`, moved by the difference of two smoothed scores, with no path and no time:

        V(x) = h^2 [grad log p_h(x) - grad log q_h(x)],    loss ||x - (x + V)||^2 / d

    the bracket without gradient; p_h and q_h are the data and what the map draws, each blurred by a Gaussian of
    standard deviation h. h^2 grad log p_h(x) = m_p(x) - x, m_p the kernel mean of the data about x: so V = m_p - m_q,
    two mean shifts, and V = 0 everywhere if and only if q = p. m_p is the mean over the batch, or E[x0 | x] of a
    `teacher` at sigma / alpha = h; m_q always over the batch. So a sample's loss depends on its batch: the second
    stated exception.

    Args:
        bandwidth: h, in units of the data's standard deviation.
        eps: the noise that the first jump begins with.
        t, times, weight: of no meaning here.
        cond: refused: kernel means over a batch of several classes would draw each class towards all.
        flow_map, x0, teacher, generator: as for `lagrangian`.

    Raises:
        TypeError: for a map that is no ConsistencyMap.
        ValueError: for conditions.

    Returns:
        loss, and as reference the same: |V|^2 / d, which is comparable from step to step.

    References:
        Deng et al. 2026 (drifting); Fukunaga & Hostetler 1975 (mean shift); the identity is Tweedie's.
    """
    needs(flow_map, ConsistencyMap, "drifting")
    if cond:
        raise ValueError(f"drifting compares data with draws, of whatever condition; got {', '.join(cond)}")
    _, eps = draw(x0, torch.ones(len(x0), dtype=torch.float64, device="cpu"), eps, generator, None)
    sd = flow_map.data_std
    x = drawn(flow_map, x0, {}, generator, eps)
    with torch.no_grad():
        h = bandwidth * sd
        if teacher is None:
            data = _kernel_mean(x, x0, h)
        else:
            level = teacher.schedule.time_of_log_snr(-torch.log(torch.tensor(h, dtype=torch.float64, device="cpu")))
            with evaluating(teacher):
                data = teacher(pad_right(teacher.schedule.alpha(level), x) * x, level)
        shift = data - _kernel_mean(x, x, h)
    value = mean_square((x - (x + shift).detach()) / sd)
    return {"loss": value, "reference": value.detach()}


def _kernel_mean(x: Tensor, of: Tensor, h: float) -> Tensor:
    """sum_j k_ij of_j / sum_j k_ij, k the Gaussian kernel of standard deviation h."""
    share = torch.softmax(-torch.cdist(x.flatten(1), of.flatten(1)).square() / (2 * h * h), 1)
    return (share @ of.flatten(1)).reshape(x.shape)
