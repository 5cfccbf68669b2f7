"""Samples in the data's own units, and a picture of them where their shape has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from scorefield import plots
from scorefield.data import Transform
from scorefield.data.units import unit
from scorefield.plots import series, vectors
from scorefield.plots.kinds import kind
from scorefield.plots.shown import Look, of
from scorefield.plots.style import INK, MUTED, axes_of_curves
from scorefield.plots.tables import of_table

IN_TURN = 12  # classes that have a column each


def of_samples(
    x_raw: Tensor,
    transform: Transform | None,
    look: Look | None = None,
    label: Tensor | None = None,
    data: Tensor | None = None,
) -> Figure | None:
    """A grid of images, a cloud of points, some series, or a table's columns; None for events of any other shape.

    Args:
        look: what is known of the data.
        label: `(N,)` the classes that were asked for; those asked for in turn have a column of images each.
        data: of the same kind, to compare a table's columns with.
    """
    look = (look or Look())._replace(levels=None if transform is None else transform.levels)
    what = kind(x_raw.shape[1:], look)
    if what == "pictures":
        columns, names, title = _by_class(len(x_raw), label, look)
        return plots.image_grid(unit(x_raw, transform), columns, column_labels=names, title=title)
    if look.table is not None:
        return of_table(look.table.decode(x_raw), None if data is None else look.table.decode(data))
    if what == "points":
        fig = plots.figure(4.5, 4.5)
        ax = fig.add_subplot()
        vectors.cloud(ax, x_raw)
        axes_of_curves(ax, title=f"{len(x_raw):,} samples")
        return fig
    return series.of_series(x_raw, look) if what == "series" else None


def _by_class(n: int, label: Tensor | None, look: Look) -> tuple[int, list[str], str]:
    """(columns, what stands above them, the title)."""
    usual = math.ceil(math.sqrt(n))
    asked = [] if label is None else label.tolist()
    turn = next((p for p in range(1, IN_TURN + 1) if asked and all(a == asked[i % p] for i, a in enumerate(asked))), 0)
    if not turn or turn > n:
        return usual, [], ""
    if turn == 1:
        return usual, [], look.called(asked[0])
    columns = turn * max(1, round(usual / turn))
    return columns, [look.called(asked[i % turn]).replace(" ", "\n") for i in range(columns)], ""


def panels(
    columns: dict[str, Tensor],
    *,
    row_labels: Sequence[str] = (),
    down: bool = False,
    title: str = "",
    look: Look | None = None,
) -> Figure | None:
    """What becomes of some data: `columns` of one shape `(N, *event)` under their names, a row for each datum.

    Pictures are tiled, down the page if `down`; points and series have a panel for each column, and a datum keeps its
    colour. None for events of any other shape.
    """
    frames, names, look = torch.stack(list(columns.values())), list(columns), look or Look()
    n, event = frames.shape[1], tuple(frames.shape[2:])
    if len(event) == 3 and event[0] in (1, 3):
        if down:
            flat = frames.reshape(-1, *event)
            return plots.image_grid(flat, n, row_labels=names, column_labels=row_labels, title=title)
        return plots.filmstrip(frames, column_labels=names, row_labels=row_labels, title=title)
    what = kind(event, look)
    if what not in ("points", "series"):
        return None
    points = what == "points"
    many = 1 if points else min(series.CHANNELS, series.channels(frames[0], look)[0].shape[1])
    fig = plots.figure(max(4.0, 2.6 * len(names)), 0.5 + 2.4 * many)
    axes = fig.subplots(many, len(names), sharex=True, sharey=True if points else "row", squeeze=False)
    colors: list[Any] = [*plots.curves_colors(n)]
    if points:  # by where it is, since there may be thousands
        angle = torch.atan2(frames[0, :, 1], frames[0, :, 0])
        colors = [*colormaps["twilight"](angle.double().numpy() / (2 * math.pi) + 0.5)]
    for column, name, frame in zip(axes.T, names, frames, strict=True):
        if points:
            column[0].scatter(frame[:, 0], frame[:, 1], s=5, c=colors, linewidths=0)
            column[0].set_aspect("equal")
        else:
            _series(column, frame, look, colors, row_labels if name == names[-1] else ())
        for ax in column:
            axes_of_curves(ax, title=name if ax is column[0] else "")
    if not points:
        for ax in axes[-1]:
            ax.set_xlabel(look.axis, color=INK, fontsize=10)
        for ax in axes[:, 0]:
            ax.set_ylabel(look.unit, color=INK, fontsize=10)
    shown = min(series.SHOWN, n)
    title = of(shown, n, "series") if not points and not title and shown < n else title
    if title:
        fig.suptitle(title, fontsize=10, color=MUTED)
    return fig


def _series(column: Sequence[Axes], frame: Tensor, look: Look, colors: list[Any], names: Sequence[str]) -> None:
    """A datum's channels below each other; the last column of panels names the data."""
    x, there = series.channels(frame[: series.SHOWN], look)
    for c, ax in enumerate(column):
        series.lines(ax, x[:, c], there[:, 0], look, colors)
    if len(names):
        for line, name in zip(column[0].lines, names, strict=False):
            line.set_label(name)
        column[0].legend(frameon=False, fontsize=7)
