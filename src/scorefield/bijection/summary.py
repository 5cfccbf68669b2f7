"""How far a walk through the latent, an edit or an inpainting went, in one account.

Distances are root mean squares over the entries of a datum, in units of the data's standard deviation where it says so.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser


def rms(difference: Tensor) -> Tensor:
    """`(N,)` float64, over the entries of each."""
    return difference.double().square().reshape(len(difference), -1).mean(1).sqrt()


def distance(x: Tensor, y: Tensor, std: float) -> float:
    """From data `x` to `y` `(N, *event)`, the mean over them, in units of `std`."""
    return float(rms(y - x).mean()) / std


class RoundTrip(NamedTuple):
    """How far from data a round trip ends."""

    error: Tensor  # (N,)
    rms: float  # over all of them
    worst: float


def round_trip(x: Tensor, back: Tensor) -> RoundTrip:
    """Of data `x` and what became of them, `(N, *event)`."""
    error = rms(back - x).cpu()
    return RoundTrip(error, float(error.square().mean().sqrt()), float(error.max()))


def mean_square(z: Tensor) -> float:
    """Of all entries: 1 for latents that are standard normal."""
    return float(z.double().square().mean())


def kept(before: Tensor, after: Tensor) -> float:
    """The share of numbers that came back the same."""
    return float((after == before).double().mean())


class Walk(NamedTuple):
    """Of a path between data, `(N,)` each."""

    distance: Tensor  # between the ends
    longest_step: Tensor
    error_at_ends: Tensor  # the larger of the two


def walk(path: Tensor, a: Tensor, b: Tensor) -> Walk:
    """Of `interpolate`'s path `(steps, N, *event)` from `a` to `b` `(N, *event)`."""
    steps = torch.stack([rms(y - x) for x, y in pairwise(path)])
    return Walk(rms(b - a), steps.amax(0), torch.stack([rms(path[0] - a), rms(path[-1] - b)]).amax(0))


class Edited(NamedTuple):
    """How far an edit went, beside how far it goes with Gaussian data."""

    strength: float
    distance: float  # in the data's standard deviation
    correlation: float  # of the deviations from the data's mean, over all entries of all data
    correlation_of_gaussian_data: float  # cos(strength pi / 2) by the ODE, its square by the SDE


def edited(denoiser: Denoiser, x: Tensor, y: Tensor, strength: float, *, stochastic: bool = False) -> Edited:
    """Of data `x` and their edits `y` `(N, *event)`, on the CPU."""
    mean = denoiser.data_mean
    mean = mean.cpu() if isinstance(mean, Tensor) else mean
    a, b = (x - mean).double(), (y - mean).double()
    correlation = float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
    expected = round(math.cos(strength * math.pi / 2), 15) ** (2 if stochastic else 1)
    return Edited(strength, distance(x, y, denoiser.data_std), correlation, expected)


class Inpainted(NamedTuple):
    """Of what was made anew."""

    hidden: float  # its share of each datum
    distance: float  # from what was there, in the data's standard deviation
    spread: float  # between attempts, in the same; NaN for one


def inpainted(x: Tensor, attempts: Tensor, hidden: Tensor, std: float) -> Inpainted:
    """Of data `x` `(N, *event)` and `attempts` `(K, N, *event)` at what is `hidden`, bool `(*event)`."""
    off = (attempts - x)[:, :, hidden].double()
    spread = float(off.std(0).square().mean().sqrt()) / std if len(attempts) > 1 else math.nan
    return Inpainted(float(hidden.double().mean()), float(off.square().mean().sqrt()) / std, spread)
