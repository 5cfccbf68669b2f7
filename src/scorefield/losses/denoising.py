"""Denoising score matching: one residual, many weights.

For any target a x0 + b eps the network's error is a multiple of the denoiser's, because both solve the same 2x2 system,

    D - x0 = c_out (output - target),    c_out = -sigma / (alpha b - sigma a),

so every objective of the family, NCSN, DDPM, v, x0, EDM, min-SNR, likelihood weighting, is

    w(t) ||D(x_t, t) - x0||^2 / d = w(t) c_out(t)^2 ||output - target||^2 / d,    d = the event's size.

All weights share the minimiser D = E[x0 | x_t], where the expected loss is w(t) E tr Cov[x0 | x_t] / d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser, NetworkDenoiser
from scorefield.distributions import Distribution
from scorefield.losses.couplings import Coupling
from scorefield.losses.times import TimeLaw, Uniform
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, randn_like


def denoising(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """The weighted squared error of the denoiser, a mean over the event's entries: `(B,)`.

    Args:
        denoiser: what is trained. A NetworkDenoiser is compared in the space of its own target.
        x0: clean data, `(B, *event)`, in the denoiser's units.
        t: times `()` or `(B,)`; drawn from `times` unless given.
        eps: the noise, shape of `x0`; drawn unless given, of a `Flow` from its origin.
        generator: of the draws: a torch.Generator on any device, or a Stream, which keys them by sample.
        weight: `weight(schedule, t)` multiplies ||D - x0||^2 (see `losses.weights`). None leaves ||output - target||^2
            as it is: DDPM's loss for Eps, EDM's for EDMPreconditioning, flow matching's for Velocity.
        times: the law of t; Uniform() unless given.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.

    References:
        Vincent 2011 (denoising score matching); Ho et al. 2020; Karras et al. 2022; Kingma & Gao 2023 (one family).
    """
    schedule, told = denoiser.schedule, Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times, denoiser.origin)
    x_t = schedule.perturb(x0, t, eps)
    scale: Tensor | None = None
    if isinstance(denoiser, NetworkDenoiser):
        # in the target's space: D - x0 would lose its digits to cancellation where sigma is small
        row = denoiser.parameterization
        residual = denoiser.output(x_t, t, **told) - row.target(schedule, x0, eps, t)
        if weight is not None:
            scale = weight(schedule, t) * row.solve(schedule, t)[1] ** 2
    else:
        residual = denoiser(x_t, t, **told) - x0
        scale = weight(schedule, t) if weight is not None else None
    loss = residual.square().flatten(1).mean(1) if residual.ndim > 1 else residual.square()
    return loss if scale is None else scale.to(loss) * loss


def flow_matching(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    coupling: Coupling | None = None,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """||v - (alpha' x0 + sigma' x1)||^2 / d at x_t = alpha x0 + sigma x1, `(B,)`, for a network that predicts velocity.

    It is `denoising` with x1 for the noise, so any target has the same minimiser: of `NetworkDenoiser(net, Rectified(),
    Velocity())` with independent normal x1 the same number to the bit, conditional flow matching. Pairs of another kind
    are for a `Flow`.

    Args:
        coupling: pairs x1 with x0 within this batch; `training.fit(flow, data, coupling=...)` does so in pools.
        eps: x1, draws of the origin, shape of `x0`; drawn unless given.
        denoiser, x0, t, generator, weight, times, cond: as for `denoising`.

    Raises:
        ValueError: for pairs of another kind and a denoiser that would take its field for a score.

    References:
        Lipman et al. 2023; Liu et al. 2023; Tong et al. 2024.
    """
    if coupling is not None and "score" not in denoiser.lacks:
        raise ValueError(f"a coupling makes a field that is no score: it is for a Flow; got {type(denoiser).__name__}")
    t, x1 = draw(x0, t, eps, generator, times, denoiser.origin)
    if coupling is not None:
        told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
        x1 = x1[coupling.match(x0, x1, {n: v for n, v in told.items() if n != "null"}, generator).to(x1.device)]
    return denoising(denoiser, x0, t=t, eps=x1, generator=generator, weight=weight, cond=cond)


def draw(
    x0: Tensor,
    t: Tensor | None,
    eps: Tensor | None,
    generator: Randomness,
    times: TimeLaw | None,
    origin: Distribution | None = None,
) -> tuple[Tensor, Tensor]:
    """(t, eps): what is given, and draws of the time law and of N(0, I), or of the origin, for what is not.

    Raises:
        ValueError: for an eps of another shape than x0.
    """
    if t is None:
        t = (times or Uniform()).sample(len(x0), generator)
    if eps is None:
        eps = randn_like(x0, generator) if origin is None else origin.sample(len(x0), generator=generator).to(x0)
    if eps.shape != x0.shape:
        raise ValueError(f"eps must have the shape of x0, {tuple(x0.shape)}; got {tuple(eps.shape)}")
    return t, eps
