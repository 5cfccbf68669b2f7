"""The map between data and latent, and walks in the latent.

In y = x / alpha and s = sigma / alpha the probability-flow ODE is dy/ds = (y - D) / s for every process: a bijection
between the data at noise ratio `s_min` and what they become at `s_max`. The latent is what is there, standardised,

    z = (y(s_max) - m) / sqrt(sd^2 + s_max^2),        m, sd the data's mean and standard deviation,

about N(0, I), and the same number whatever schedule the model is read on: the nodes, too, are chosen in s alone.
`encode` walks them upwards and `decode` downwards, both with Adams methods on the circle (`solvers.multistep`), so a
round trip returns x up to the error of the steps. It falls as nfe^-4, until the first step of `decode`, an Euler step
corrected, shows below 1e-6: nfe^-3.

Data have no noise, and at s = 0 the direction (y - D) / s is undefined, so x is read as a point of the data blurred by
s_min, and `decode` ends there. Where the data's standard deviation is c, that point lies sqrt(1 + (s_min / c)^2) too
far out: 2e-6 of the whole at the default and c = sd. It costs something where data are thinner than s_min: what lies
off such data by more than s_min is encoded as an outlier.

Gaussian data N(m, C) have z = sqrt((C + s_max^2) / ((C + s_min^2) (sd^2 + s_max^2))) (x - m): nearly whitening.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.sampling.driver import run
from scorefield.schedules import pad_right
from scorefield.solvers import Multistep
from scorefield.tensors import require_batch

NFE = 64
S_MIN, S_MAX = grids.S_MIN, 40.0  # in units of data_std; the usual processes and the presets go that far

_SOLVER = Multistep()


class Encoded(NamedTuple):
    """What `encode` returns."""

    z: Tensor  # (B, *event)
    nfe: int  # network evaluations for each sample, less the round trip's
    error: Tensor | None = None  # (B,) root mean square of decode(z) - x over the entries of each, if asked for


def encode(
    denoiser: Denoiser,
    x: Tensor,
    *,
    nfe: int = NFE,
    cond: Mapping[str, Any] | None = None,
    round_trip: bool = False,
    s_min: float = S_MIN,
    s_max: float = S_MAX,
    chunk: int | None = None,
    progress: bool = False,
) -> Encoded:
    """The latent of `x` `(B, *event)`, in the units the model was trained on.

    Args:
        nfe: network evaluations. With 64, `decode` returns x to 1e-3 RMS on mixtures and 8x8 digits, exact or learned;
            a network of 28x28 digits needed 128.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
        round_trip: decode again with as many evaluations, and report how far from x that ends.
        s_min, s_max: noise ratios of data and latent in units of data_std; a process that begins or ends between them
            sets its own.

    Raises:
        ValueError: for x that is not a finite floating point batch, nfe below 1, s_min not below s_max, or a condition
            of another length than x.
    """
    _check("x", x)
    times = _times(denoiser, nfe, s_min, s_max)
    start = x * float(denoiser.schedule.alpha(times[-1]))
    up = run(denoiser, start, _SOLVER, times.flip(0), cond=cond, chunk=chunk, progress=progress, doing="encoding")
    mean, std = _prior(denoiser, times[0], x)
    z, error = (up.x - mean) / std, None
    if round_trip:
        back = decode(denoiser, z, nfe=nfe, cond=cond, s_min=s_min, s_max=s_max, chunk=chunk, progress=progress)
        error = (back - x).square().reshape(len(x), -1).mean(1).sqrt()
    return Encoded(z, up.nfe, error)


def decode(
    denoiser: Denoiser,
    z: Tensor,
    *,
    nfe: int = NFE,
    cond: Mapping[str, Any] | None = None,
    s_min: float = S_MIN,
    s_max: float = S_MAX,
    chunk: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The `x` `(B, *event)` whose latent is `z`; for z from N(0, I), a sample. Arguments as in `encode`.

    Raises:
        ValueError: for a z that is not floating point or not finite, less than one evaluation, or noise ratios that do
            not rise from s_min to s_max.
    """
    _check("z", z)
    times = _times(denoiser, nfe, s_min, s_max)
    mean, std = _prior(denoiser, times[0], z)
    down = run(denoiser, mean + std * z, _SOLVER, times, cond=cond, chunk=chunk, progress=progress, doing="decoding")
    return down.x / float(denoiser.schedule.alpha(times[-1]))


def slerp(a: Tensor, b: Tensor, w: Tensor | float) -> Tensor:
    """The point a share `w` of the way from `a` to `b` `(B, *event)`, along the arc between their directions.

        (1 - w) |a| + w |b|  in length,   cos(w angle) a/|a| + sin(w angle) e  in direction,

    e the unit vector at right angles to a in the plane of the two. Lengths that are equal are kept, and of normal
    vectors in d dimensions nearly all have length sqrt(d): the straight line between two passes at 0.7 of it, where a
    model has seen nothing. Parallel vectors differ in length only; between opposite ones every great circle is
    shortest, and the one towards the axis that a is least along is taken. A vector 0 takes the other's direction.

    Args:
        w: in [0, 1], `()` or `(B,)`; beyond it the arc goes on.

    Raises:
        ValueError: for a and b of different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape (B, *event); got {tuple(a.shape)} and {tuple(b.shape)}")
    p, q = (v.reshape(len(v), -1).double() for v in (a, b))
    w = torch.as_tensor(w, dtype=torch.float64, device=p.device).reshape(-1, 1)
    length_p, length_q = (v.norm(dim=1, keepdim=True) for v in (p, q))
    u, v = _direction(p, length_p, q, length_q), _direction(q, length_q, p, length_p)
    angle = 2 * torch.atan2((u - v).norm(dim=1, keepdim=True), (u + v).norm(dim=1, keepdim=True))  # sharp at 0 and pi
    across = v - (u * v).sum(1, keepdim=True) * u
    size = across.norm(dim=1, keepdim=True)
    opposite = (size < 1e-12) & (angle > 1)
    across = torch.where(opposite, _across(u), across)
    e = across / across.norm(dim=1, keepdim=True).clamp(min=1e-300)  # parallel: 0, and never needed
    length = (1 - w) * length_p + w * length_q
    return (length * (torch.cos(w * angle) * u + torch.sin(w * angle) * e)).to(a.dtype).reshape(a.shape)


def interpolate(
    denoiser: Denoiser,
    x_a: Tensor,
    x_b: Tensor,
    steps: int,
    *,
    nfe: int = NFE,
    cond: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Tensor:
    """From `x_a` to `x_b` `(B, *event)` by way of data: `(steps, B, *event)`, the decoded arc between their latents.

    The first and last are x_a and x_b after a round trip. A condition, as in `encode`, holds for the whole way.

    Raises:
        ValueError: as `encode`; for fewer than 2 steps, or shapes that differ.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, the two ends; got {steps}")
    if x_a.shape != x_b.shape:
        raise ValueError(f"x_a and x_b must have one shape; got {tuple(x_a.shape)} and {tuple(x_b.shape)}")
    told = Conditions.of(cond, len(x_a), x_a.dtype, x_a.device)
    ends = torch.cat([x_a, x_b])
    z = encode(denoiser, ends, nfe=nfe, cond=told.tiled(2), chunk=chunk, progress=progress).z
    a, b = z[: len(x_a)], z[len(x_a) :]
    path = torch.cat([slerp(a, b, float(w)) for w in torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu")])
    x = decode(denoiser, path, nfe=nfe, cond=told.tiled(steps), chunk=chunk, progress=progress)
    return x.reshape(steps, *x_a.shape)


def attribute_direction(
    denoiser: Denoiser,
    x_with: Tensor,
    x_without: Tensor,
    *,
    nfe: int = NFE,
    chunk: int | None = None,
    progress: bool = False,
) -> Tensor:
    """`(*event)`: the mean latent of data that have an attribute less the mean latent of data that do not.

    Encoded without a condition, so that the class is in the latent and not beside it.

    Args:
        x_with, x_without: `(N, *event)` and `(M, *event)`.

    Raises:
        ValueError: as `encode`; where one of the two is empty.
    """
    for name, x in (("x_with", x_with), ("x_without", x_without)):
        _check(name, x)
        if not len(x):
            raise ValueError(f"{name} must hold at least one sample; got shape {tuple(x.shape)}")
    here, there = (encode(denoiser, x, nfe=nfe, chunk=chunk, progress=progress).z.mean(0) for x in (x_with, x_without))
    return here - there


def move(
    denoiser: Denoiser,
    x: Tensor,
    direction: Tensor,
    amount: Tensor | float = 1.0,
    *,
    nfe: int = NFE,
    cond: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Tensor:
    """`x` `(B, *event)` moved along `direction` `(*event)` in the latent: decode(encode(x) + amount direction).

    Args:
        amount: `()` or `(B,)`; with `attribute_direction`, 1 is the mean difference, negative takes the attribute away.

    Raises:
        ValueError: as `encode`; for a direction of another shape than a sample's.
    """
    if direction.shape != x.shape[1:]:
        raise ValueError(
            f"direction must have the shape of a sample, {tuple(x.shape[1:])}; got {tuple(direction.shape)}"
        )
    z = encode(denoiser, x, nfe=nfe, cond=cond, chunk=chunk, progress=progress).z
    return decode(
        denoiser, z + pad_right(amount, z) * direction.to(z), nfe=nfe, cond=cond, chunk=chunk, progress=progress
    )


def _times(denoiser: Denoiser, nfe: int, s_min: float, s_max: float) -> Tensor:
    """From latent to data."""
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if not 0 < s_min < s_max:
        raise ValueError(f"s_min and s_max must be positive, s_min the smaller; got {s_min} and {s_max}")
    sd = denoiser.data_std
    # even at both ends: the path is walked both ways
    return grids.angular(denoiser.schedule, nfe, power=1.8, scale=2 * sd, onset=1.0, s_max=s_max * sd, s_min=s_min * sd)


def _prior(denoiser: Denoiser, t: Tensor, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    mean, std = denoiser.prior(t)
    return (mean.to(like) if isinstance(mean, Tensor) else mean), std


def _check(name: str, x: Tensor) -> None:
    require_batch(name, x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} must be finite; got NaN or infinity")


def _direction(p: Tensor, length: Tensor, other: Tensor, other_length: Tensor) -> Tensor:
    """p / |p|; where p = 0 the other's direction, or 0 where both are."""
    stand_in = other / other_length.clamp(min=1e-300)
    return torch.where(length > 0, p / length.clamp(min=1e-300), stand_in)


def _across(u: Tensor) -> Tensor:
    """A vector at right angles to each `u` `(B, d)`: the axis it is least along, less its part along u."""
    axis = torch.nn.functional.one_hot(u.abs().argmin(1), u.shape[1]).to(u)
    return axis - (axis * u).sum(1, keepdim=True) * u
