"""How far the columns of one table are from those of another, each by itself.

numbers             W1(p, q) / std(q), of the cells that are there
everything else     total variation, sum_v |p(v) - q(v)| / 2, an empty cell being one more value v
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from pandas import DataFrame


def frequencies(series: Any) -> dict[str, float]:
    """Share of each value, as text, the empty cell's under "" if there is any; in order of the values."""
    there = series.dropna()
    shares = there.astype(str).value_counts().sort_index() / max(len(series), 1)
    empty = {"": 1 - len(there) / len(series)} if len(there) < len(series) else {}
    return {**{str(value): float(share) for value, share in shares.items()}, **empty}


def is_numeric(series: Any) -> bool:
    """Whether it holds numbers that are no truth values."""
    from pandas.api import types

    return types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)


def marginals(samples: DataFrame, data: DataFrame) -> dict[str, float]:
    """Distance of each column of `samples` to that of `data`, for the columns both have.

    A constant column of numbers has no std: its distance is in its own units.

    Raises:
        ValueError: for tables without a row, or without a column in common.
    """
    names = [name for name in data.columns if name in samples.columns]
    if not names or not len(samples) or not len(data):
        raise ValueError("samples and data must have rows, and columns of the same names")
    return {str(name): _distance(samples[name], data[name]) for name in names}


def _distance(a: Any, b: Any) -> float:
    if is_numeric(a) and is_numeric(b):
        x, y = (series.dropna().to_numpy(np.float64) for series in (a, b))
        if not len(x) or not len(y):
            return float(len(x) != len(y))
        return float(stats.wasserstein_distance(x, y)) / (float(y.std()) or 1.0)
    p, q = frequencies(a), frequencies(b)
    return sum(abs(p.get(value, 0.0) - q.get(value, 0.0)) for value in {*p, *q}) / 2
