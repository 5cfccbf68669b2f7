"""Langevin dynamics on a density itself, at one noise level.

    ULA:   x <- x + (h/2) grad log p(x) + sqrt(h) z,   z ~ N(0, I)

`h` is `step_size`. (The other convention writes x + e grad log p + sqrt(2 e) z, with e = h/2. Mixing the two, a drift
of h with a noise of sqrt(h), samples p^2; a drift of h/2 with sqrt(2 h) samples p^(1/2).) Any h > 0 leaves a bias of
order h in the stationary law: N(0, v) comes out with variance v / (1 - h / 4v). MALA removes it by accepting or
refusing each step (Roberts & Tweedie 1996), which takes a log-density, not only its gradient:

    MALA:  y = x + (h/2) grad log p(x) + sqrt(h) z is taken with probability min(1, p(y) q(x | y) / (p(x) q(y | x))),
           q(y | x) = N(y; x + (h/2) grad log p(x), h I).

Momentum makes the bias of order h^2 and mixes faster:

    BAOAB: dx = v dt,  dv = (grad log p - gamma v) dt + sqrt(2 gamma) dw     (Leimkuhler & Matthews 2013)

is exact on Gaussians, of order h^2 elsewhere, and crosses a distance of n steps in n steps, not n^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers.gradients import differentiable
from scorefield.randomness import Noise
from scorefield.tensors import require_batch


class Chain(NamedTuple):
    """The state of B chains after the last step."""

    x: Tensor  # (B, *event)
    acceptance: Tensor | None = None  # (B,), the fraction of steps each chain accepted: MALA only
    trajectory: Tensor | None = None  # (steps + 1, B, *event), if asked for
    velocity: Tensor | None = None  # (B, *event): BAOAB only


def ula(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steps: int,
    step_size: float,
    seed: int = 0,
    trajectory: bool = False,
) -> Chain:
    """The unadjusted Langevin algorithm from `x` `(B, *event)`; `score(x)` is grad log p, exact or learned.

        x <- x + (h/2) score(x) + sqrt(h) z.

    Args:
        step_size: h, a squared length.
        trajectory: also return x after every step.

    Raises:
        ValueError: for a step_size that is not positive, or a start that is not finite.
    """
    noise = _noise(x, seed, step_size)
    path = [x]
    for k in range(steps):
        x = x + step_size / 2 * score(x) + step_size**0.5 * noise.normal(k)
        if trajectory:
            path.append(x)
    return Chain(x, None, torch.stack(path) if trajectory else None)


def baoab(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steps: int,
    step_size: float,
    friction: float = 1.0,
    velocity: Tensor | None = None,
    seed: int = 0,
    trajectory: bool = False,
) -> Chain:
    """Underdamped Langevin dynamics from `x` `(B, *event)`, split as BAOAB; one evaluation of `score` a step.

        B   v <- v + h score(x)
        A   x <- x + (h / 2) v
        O   v <- e^(-gamma h) v + sqrt(1 - e^(-2 gamma h)) z
        A   again.

    (The half kicks of neighbouring steps see the same score, and are joined.) The stationary law of x
    is exact where the score is linear, for every h below 2 / sqrt(-slope), at which it becomes unstable; elsewhere its
    error is of order h^2. Compare with `ula` at a step_size of h^2: in the limit of strong friction the steps are as
    long.

    Args:
        step_size: h, a time with x in units of length and unit mass: where the density's standard deviation is L, h is
            in units of L. `ula`'s is a squared length.
        friction: gamma. 2 / L damps the widest direction critically, L its standard deviation, and mixes fastest.
        velocity: `(B, *event)` to go on from; standard normal unless given.

    Raises:
        ValueError: for a step_size or a friction that is not positive, or a start that is not finite.
    """
    noise = _noise(x, seed, step_size)
    if not friction > 0:
        raise ValueError(f"friction must be positive; got {friction}")
    keep = math.exp(-friction * step_size)
    fluctuate = math.sqrt(-math.expm1(-2 * friction * step_size))
    v, path = noise.normal(0) if velocity is None else velocity, [x]
    for k in range(steps):
        v = v + step_size * score(x)
        x = x + step_size / 2 * v
        v = keep * v + fluctuate * noise.normal(k + 1)
        x = x + step_size / 2 * v
        if trajectory:
            path.append(x)
    return Chain(x, None, torch.stack(path) if trajectory else None, v)


def mala(
    log_density: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steps: int,
    step_size: float,
    seed: int = 0,
    trajectory: bool = False,
) -> Chain:
    """The Metropolis-adjusted Langevin algorithm: exact stationary law p for any step size.

    `log_density(x)` `(B,)` need not be normalised; its gradient is taken by autograd. Best mixing at an acceptance near
    0.57; an acceptance of 0 from a start far in the tails asks for a smaller step. A log-density whose last bits depend
    on its batch may have a move accepted in one and refused in another: the two chains part, both with the law p.

    Raises:
        ValueError: for a step_size that is not positive, a start that is not finite, or a log_density of another shape
            than (B,): summed over the batch, it would accept or refuse all chains at once.
    """
    noise = _noise(x, seed, step_size)
    event = tuple(range(1, x.ndim))

    def value_and_score(x: Tensor) -> tuple[Tensor, Tensor]:
        with differentiable():
            x = x.detach().clone().requires_grad_()
            value = log_density(x)
            if value.shape != x.shape[:1]:
                raise ValueError(f"log_density(x) must be of shape ({len(x)},), one for each; got {tuple(value.shape)}")
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    def log_proposal(to: Tensor, origin: Tensor, gradient: Tensor) -> Tensor:
        return -((to - origin - step_size / 2 * gradient) ** 2).sum(event) / (2 * step_size)

    value, gradient = value_and_score(x)
    accepted, path = torch.zeros_like(value), [x]
    for k in range(steps):
        y = x + step_size / 2 * gradient + step_size**0.5 * noise.normal(2 * k)
        y_value, y_gradient = value_and_score(y)
        log_ratio = y_value - value + log_proposal(x, y, y_gradient) - log_proposal(y, x, gradient)
        # a log-density of -inf (outside the support) or NaN refuses the move
        accept = torch.log(noise.uniform(2 * k + 1).reshape(len(x), -1)[:, 0]) < log_ratio
        chosen = accept.reshape(-1, *(1,) * (x.ndim - 1))
        x, gradient = torch.where(chosen, y, x), torch.where(chosen, y_gradient, gradient)
        value, accepted = torch.where(accept, y_value, value), accepted + accept
        if trajectory:
            path.append(x)
    return Chain(x, accepted / max(steps, 1), torch.stack(path) if trajectory else None)


def _noise(x: Tensor, seed: int, step_size: float) -> Noise:
    require_batch("x", x)
    if not step_size > 0:
        raise ValueError(f"step_size must be positive; got {step_size}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
    return Noise(seed, torch.arange(len(x), device=x.device), tuple(x.shape[1:]), x.dtype)
