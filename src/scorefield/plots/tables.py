"""A table's columns and pairs of columns, samples against data."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.metrics.tables import frequencies, is_numeric, marginals
from scorefield.plots.shown import Look, Shown
from scorefield.plots.style import COLORS, INK, axes_of_curves, figure

if TYPE_CHECKING:
    from pandas import DataFrame

ACROSS, COLUMNS, PAIRED, VALUES, POINTS = 4, 12, 4, 12, 1000
_DATA, _SAMPLES = COLORS["truth"], COLORS["second"]


def beside(made: Tensor, real: Tensor, look: Look, what: str) -> list[Shown]:
    """The columns of samples and data, decoded, `(N, d)` each; `what` the data are."""
    assert look.table is not None
    samples, data = look.table.decode(made), look.table.decode(real)
    apart = marginals(samples, data)
    worst = max(apart, key=apart.__getitem__)
    unit = "standard deviations (Wasserstein)" if is_numeric(samples[worst]) else "in total variation"
    said = f"Of {len(apart)} columns {worst} is farthest off, by {apart[worst]:.2f} {unit}."
    text = f"{len(samples):,} samples in red, {len(data):,} rows of {what} in grey. {said}"
    return [
        Shown("Samples beside data", text, f"Histograms of columns, samples over data. {said}", of_table(samples, data))
    ]


def of_table(samples: DataFrame, data: DataFrame | None = None) -> Figure:
    """The columns one by one, data grey and samples red, and below them the pairs of numbers.

    The title of a column says how far apart they are: `metrics.marginals`. At most 12 columns are drawn, and the pairs
    of the first 4 columns of numbers; what is left out is said.

    Args:
        data: to compare with; samples alone without.
    """
    names = [str(name) for name in samples.columns][:COLUMNS]
    numbers = [name for name in names if is_numeric(samples[name])][:PAIRED]
    pairs = list(itertools.combinations(numbers, 2))
    rows, pair_rows = math.ceil(len(names) / ACROSS), math.ceil(len(pairs) / ACROSS)
    fig = figure(2.6 * ACROSS, 2.1 * (rows + pair_rows) + 0.5)
    axes = fig.subplots(rows + pair_rows, ACROSS, squeeze=False)
    apart = {} if data is None else marginals(samples, data)
    for ax in axes.flat:
        ax.set_visible(False)
    for name, ax in zip(names, axes[:rows].flat, strict=False):
        ax.set_visible(True)
        other = None if data is None or name not in data else data[name]
        (_histogram if _is_spread(samples[name]) else _bars)(ax, samples[name], other)
        unit = "W1/std" if is_numeric(samples[name]) else "TV"
        axes_of_curves(ax, title=_short(name) + (f", {unit} {apart[name]:.2f}" if name in apart else ""))
        ax.title.set_fontsize(9)
        ax.tick_params(labelsize=7)
    for (first, second), ax in zip(pairs, axes[rows:].flat, strict=False):
        ax.set_visible(True)
        if data is not None:
            _points(ax, data, first, second, _DATA)
        _points(ax, samples, first, second, _SAMPLES)
        axes_of_curves(ax, x=_short(first), y=_short(second))
        ax.tick_params(labelsize=7)
        for label in (ax.xaxis.label, ax.yaxis.label):
            label.set_fontsize(8)
    all_of_it = len(samples.columns)
    cut = "" if len(names) == all_of_it else f"; {len(names)} of {all_of_it} columns shown"
    against = "samples" if data is None else f"{len(samples):,} samples (red), {len(data):,} data (grey)"
    fig.suptitle(against + cut, fontsize=10, color=INK)
    return fig


def _is_spread(series: Any) -> bool:
    return is_numeric(series) and series.nunique() > VALUES


def _histogram(ax: Axes, a: Any, b: Any) -> None:
    x = a.dropna().to_numpy(np.float64)
    y = x[:0] if b is None else b.dropna().to_numpy(np.float64)
    both = np.concatenate([x, y])
    if not len(both):
        return
    edges = np.histogram_bin_edges(both, 30 if np.ptp(both) else 1).tolist()
    if len(y):
        ax.hist(y, edges, density=True, color=_DATA, alpha=0.45)
    if len(x):
        ax.hist(x, edges, density=True, color=_SAMPLES, histtype="step", linewidth=1.4)
    ax.set_yticks([])


def _bars(ax: Axes, a: Any, b: Any) -> None:
    p, q = frequencies(a), {} if b is None else frequencies(b)
    values = sorted({*p, *q}, key=lambda value: (value == "", -max(p.get(value, 0), q.get(value, 0))))[:VALUES]
    if is_numeric(a):
        values.sort(key=lambda value: float(value or "inf"))
    where = np.arange(len(values))
    if q:
        ax.bar(where - 0.2, [q.get(value, 0) for value in values], 0.4, color=_DATA, alpha=0.6)
    ax.bar(where + 0.2 * bool(q), [p.get(value, 0) for value in values], 0.4, color=_SAMPLES)
    names = [_short(value, 12) if value else "(empty)" for value in values]
    ax.set_xticks(where, names, rotation=0 if len(values) < 4 else 45, ha="center" if len(values) < 4 else "right")


def _points(ax: Axes, table: DataFrame, first: str, second: str, color: str) -> None:
    both = table[[first, second]].dropna().iloc[:POINTS].astype(float)
    ax.scatter(both[first], both[second], s=4, color=color, alpha=0.4, linewidths=0)


def _short(text: str, most: int = 22) -> str:
    text = text.replace("$", r"\$")
    return text if len(text) <= most else text[: most - 1] + "…"
