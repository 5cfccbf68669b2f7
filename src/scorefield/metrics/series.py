"""Second moments of series: how much of each frequency, and how long what was is remembered.

For a series x_0 .. x_{n-1} with its mean m taken off, dt apart,

    periodogram        P(f) = dt / n |sum_t (x_t - m) exp(-2 pi i f t dt)|^2,        0 < f <= 1 / (2 dt)
    autocorrelation    r_k = sum_t (x_t - m) (x_{t+k} - m) / sum_t (x_t - m)^2

The mean of P over frequencies of either sign is the variance times dt. A series that ends early, where `mask` says so,
has its own n; its periodogram is had on the grid of the longest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Spectrum(NamedTuple):
    """Of each series."""

    frequency: Tensor  # (F,), in cycles for each unit of `step`
    power: Tensor  # (..., F)


def periodogram(x: Tensor, *, step: float = 1.0, mask: Tensor | None = None) -> Spectrum:
    """The periodogram of series `(..., L)`.

    Args:
        step: from one number to the next.
        mask: bool, broadcast to x: where there is a series.

    Raises:
        ValueError: for series of one number, or a step that is not positive.
    """
    centred, n = _centred(x, mask)
    if not step > 0:
        raise ValueError(f"step must be positive; got {step}")
    power = torch.fft.rfft(centred).abs().square() * (step / n)
    frequency = torch.fft.rfftfreq(x.shape[-1], step, dtype=torch.float64, device=x.device)
    return Spectrum(frequency[1:], power[..., 1:])


def autocorrelation(x: Tensor, *, lags: int | None = None, mask: Tensor | None = None) -> Tensor:
    """`(..., lags + 1)` of series `(..., L)`, r_0 = 1; a constant series has 0 beyond it.

    Args:
        lags: half of L unless given.
        mask: bool, broadcast to x: where there is a series.

    Raises:
        ValueError: for series of one number, or lags outside 0 .. L - 1.
    """
    centred, _ = _centred(x, mask)
    length = x.shape[-1]
    lags = length // 2 if lags is None else lags
    if not 0 <= lags < length:
        raise ValueError(f"lags must lie in 0..{length - 1}; got {lags}")
    spectrum = torch.fft.rfft(centred, n=2 * length).abs().square()  # zeros beyond the end: no series goes round
    sums = torch.fft.irfft(spectrum, n=2 * length)[..., : lags + 1]
    found = sums / sums[..., :1].clamp(min=torch.finfo(sums.dtype).tiny)
    return torch.cat([torch.ones_like(found[..., :1]), found[..., 1:]], -1)


def _centred(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(the series less its mean, 0 where there is none; how many numbers it has, `(..., 1)`)."""
    if x.ndim < 1 or x.shape[-1] < 2:
        raise ValueError(f"series must be (..., L) with L of at least 2; got shape {tuple(x.shape)}")
    x = x.double()
    there = torch.ones_like(x) if mask is None else mask.double().expand(x.shape)
    n = there.sum(-1, keepdim=True).clamp(min=1)
    x = torch.where(there > 0, x, 0.0)
    return (x - x.sum(-1, keepdim=True) / n) * there, n
