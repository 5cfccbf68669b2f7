"""Mean and variance of a source that need not fit in memory.

Two sets of n and m values with means a, b and sums of squared deviations A, B together have (Chan et al. 1983)

    mean  a + (b - a) m / (n + m),    sum of squared deviations  A + B + (b - a)^2 n m / (n + m),

so one pass in chunks, in float64, loses nothing to cancellation: E[x^2] - E[x]^2 would.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.data.sources import Source, as_tensor, chunks, rows_at_a_time


class Moments(NamedTuple):
    """Of raw data; variances divide by the count."""

    mean: Tensor  # () over all entries, or (*event)
    var: Tensor
    low: Tensor
    high: Tensor
    count: int  # values that went into each


def moments(data: Tensor | Source, *, per_entry: bool = False) -> Moments:
    """Mean, variance and range of `data`, float64: over everything, or `per_entry` of an event.

    Reads a source in chunks of 32 MB.

    Raises:
        ValueError: for empty data.
    """
    total: Moments | None = None
    for x in _pieces(data):
        part = _of(x.to(torch.float64), per_entry)
        total = part if total is None else _merge(total, part)
    if total is None or total.count == 0:
        raise ValueError("x_raw must not be empty")
    return total


def _pieces(data: Tensor | Source) -> Iterable[Tensor]:
    if isinstance(data, Source):
        return (data.batch(rows).x for rows in chunks(data))
    data = as_tensor("data", data)
    return data.split(rows_at_a_time(data.shape[1:])) if data.numel() else ()


def _of(x: Tensor, per_entry: bool) -> Moments:
    x = x if per_entry else x.reshape(-1)
    return Moments(x.mean(0), x.var(0, correction=0), x.amin(0), x.amax(0), len(x))


def _merge(a: Moments, b: Moments) -> Moments:
    count = a.count + b.count
    apart, share = b.mean - a.mean, b.count / count
    var = a.var * (1 - share) + b.var * share + apart**2 * share * (1 - share)
    low, high = torch.minimum(a.low, b.low), torch.maximum(a.high, b.high)
    return Moments(a.mean + apart * share, var, low, high, count)
