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
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers.gradients import differentiable
from scorefield.randomness import Noise
from scorefield.schedules import pad_right
from scorefield.tensors import as_tensor, require_batch

AHEAD = 2**16  # numbers drawn at once


class Chain(NamedTuple):
    """The state of B chains after the last step."""

    x: Tensor  # (B, *event)
    acceptance: Tensor | None = None  # (B,), the fraction of steps each chain accepted: MALA only
    trajectory: Tensor | None = None  # (steps + 1, B, *event), if asked for
    velocity: Tensor | None = None  # (B, *event): BAOAB only
    step_size: Tensor | None = None  # (B,), what the warm-up settled on, or what was given: MALA only


def ula(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steps: int,
    step_size: float | Tensor,
    seed: int = 0,
    trajectory: bool = False,
) -> Chain:
    """The unadjusted Langevin algorithm from `x` `(B, *event)`; `score(x)` is grad log p, exact or learned.

        x <- x + (h/2) score(x) + sqrt(h) z.

    Args:
        step_size: h, a squared length; `(B,)` for a step of each chain, as `mala`'s warm-up finds it.
        trajectory: also return x after every step.

    Raises:
        ValueError: for a step_size that is not positive, or a start that is not finite.
    """
    noise = _noise(x, seed, step_size)
    h = pad_right(step_size, x) if isinstance(step_size, Tensor) else step_size
    root, path = h**0.5, [x]
    for z in _ahead(noise.normals, x, range(steps)):
        x = x + h / 2 * score(x) + root * z
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
    step_size: float | Tensor,
    warmup: int = 0,
    target: float = 0.574,
    seed: int = 0,
    trajectory: bool = False,
) -> Chain:
    """The Metropolis-adjusted Langevin algorithm: exact stationary law p for any step size.

    `log_density(x)` `(B,)` need not be normalised; its gradient is taken by autograd. Best mixing at an acceptance near
    0.57; an acceptance of 0 from a start far in the tails asks for a smaller step. A log-density whose last bits depend
    on its batch may have a move accepted in one and refused in another: the two chains part, both with the law p.

    A warm-up adapts the step of each chain by itself, by dual averaging of log h: with a_k the probability of the k-th
    move,

        log h_k+1 = log(10 h_0) - sqrt(k) / 0.05 mean_i<=k weight_i (target - a_i),

    of which the average weighted by k^-0.75 is kept. Its moves are of no use but to arrive: they are in neither
    `acceptance` nor `trajectory`.

    Args:
        step_size: h, a squared length; the first one where there is a warm-up. `(B,)` for a step of each chain.
        warmup: steps that adapt h before the `steps`.
        target: mean acceptance to adapt to; 0.574 mixes fastest in many dimensions.

    Raises:
        ValueError: for a step_size that is not positive, a target outside (0, 1), a start that is not finite, or a
            log_density of another shape than (B,): summed over the batch, it would accept or refuse all chains at once.

    References:
        Roberts & Rosenthal 1998, Optimal scaling of discrete approximations to Langevin diffusions; Hoffman & Gelman
        2014, The No-U-Turn sampler, section 3.2.
    """
    noise = _noise(x, seed, step_size)
    if not 0 < target < 1 or warmup < 0:
        raise ValueError(f"target must lie in (0, 1) and warmup be at least 0; got {target} and {warmup}")
    event = tuple(range(1, x.ndim))
    log_h = torch.log(as_tensor(step_size, x.dtype).to(x.device).expand(len(x)))

    def value_and_score(x: Tensor) -> tuple[Tensor, Tensor]:
        with differentiable():
            x = x.detach().clone().requires_grad_()
            value = log_density(x)
            if value.shape != x.shape[:1]:
                raise ValueError(f"log_density(x) must be of shape ({len(x)},), one for each; got {tuple(value.shape)}")
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    value, gradient = value_and_score(x)
    accepted, path, averaging = torch.zeros_like(value), [x], _Averaging(log_h, target)
    h = log_h.exp()
    normals = _ahead(noise.normals, x, range(0, 2 * (warmup + steps), 2))
    uniforms = _ahead(replace(noise, event_shape=()).uniforms, x, range(1, 2 * (warmup + steps), 2))
    for k, (z, u) in enumerate(zip(normals, uniforms, strict=True)):
        wide = h.reshape(-1, *(1,) * (x.ndim - 1))
        half = wide / 2
        z = wide.sqrt() * z
        moved = half * gradient + z
        y = x + moved
        y_value, y_gradient = value_and_score(y)
        # log q(x | y) - log q(y | x), since x - y - h/2 grad(y) = -(moved + h/2 grad(y))
        log_ratio = y_value - value + (z.square() - (moved + half * y_gradient).square()).sum(event) / (2 * h)
        # a log-density of -inf (outside the support) or NaN refuses the move
        accept = torch.log(u) < log_ratio
        chosen = accept.reshape(wide.shape)
        x, gradient = torch.where(chosen, y, x), torch.where(chosen, y_gradient, gradient)
        value = torch.where(accept, y_value, value)
        if k < warmup:
            h = averaging.next(log_ratio).exp() if k < warmup - 1 else averaging.kept.exp()
            path = [x]
            continue
        accepted = accepted + accept
        if trajectory:
            path.append(x)
    return Chain(x, accepted / max(steps, 1), torch.stack(path) if trajectory else None, None, h)


def _ahead(numbers: Callable[[range], Tensor], x: Tensor, draws: range) -> Iterator[Tensor]:
    """`numbers` of each of `draws`, many at a time: a call costs as much as thousands of numbers."""
    at_once = max(1, AHEAD // max(1, x.numel()))
    for first in range(0, len(draws), at_once):
        yield from numbers(draws[first : first + at_once])


class _Averaging:
    """Dual averaging of log h towards a mean acceptance, a state for each chain."""

    def __init__(self, log_h: Tensor, target: float) -> None:
        self.centre, self.target, self.count = log_h + math.log(10), target, 0
        self.gap, self.kept = torch.zeros_like(log_h), log_h

    def next(self, log_ratio: Tensor) -> Tensor:
        """log h of the next step, from the log of the last one's acceptance ratio; NaN counts as refused."""
        self.count = k = self.count + 1
        probability = log_ratio.clamp(max=0).exp().nan_to_num(0.0)
        share = 1 / (k + 10)  # ten steps' worth of caution at the start
        self.gap = (1 - share) * self.gap + share * (self.target - probability)
        log_h = self.centre - k**0.5 / 0.05 * self.gap
        self.kept = k**-0.75 * log_h + (1 - k**-0.75) * self.kept
        return log_h


def _noise(x: Tensor, seed: int, step_size: float | Tensor) -> Noise:
    require_batch("x", x)
    if isinstance(step_size, Tensor) and step_size.shape not in ((), x.shape[:1]):
        raise ValueError(f"step_size must be a number or ({len(x)},); got shape {tuple(step_size.shape)}")
    if not bool((as_tensor(step_size) > 0).all()):
        raise ValueError(f"step_size must be positive; got {step_size}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
    return Noise(seed, torch.arange(len(x), device=x.device), tuple(x.shape[1:]), x.dtype)
