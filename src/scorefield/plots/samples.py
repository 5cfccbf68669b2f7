"""Samples in the data's own units, and a picture of them where their shape has one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from scorefield import plots
from scorefield.data import TableSchema, Transform
from scorefield.data.units import unit
from scorefield.plots.style import axes_of_curves
from scorefield.plots.tables import of_table

SERIES_SHOWN = 12


def of_samples(x_raw: Tensor, transform: Transform | None, data: Tensor | None = None) -> Figure | None:
    """A grid of images, a cloud of points, some series, or a table's columns; None for events of any other shape.

    Args:
        data: of the same kind, to compare a table's columns with.
    """
    event = x_raw.shape[1:]
    table: TableSchema | None = getattr(transform, "table", None)
    if table is not None:
        return of_table(table.decode(x_raw), None if data is None else table.decode(data))
    if len(event) == 3 and transform is not None and transform.levels is not None:
        return plots.image_grid(unit(x_raw, transform), math.ceil(math.sqrt(len(x_raw))))
    if tuple(event) == (2,):
        return _cloud(x_raw)
    if len(event) == 2 and event[0] == 1:
        return _lines(x_raw[:SERIES_SHOWN, 0])
    return None


def _cloud(x: Tensor) -> Figure:
    fig = plots.figure(4.5, 4.5)
    ax = fig.add_subplot()
    ax.scatter(x[:, 0], x[:, 1], s=3, color=plots.COLORS["data"], alpha=0.6, linewidths=0)
    ax.set_aspect("equal")
    axes_of_curves(ax)
    return fig


def _lines(x: Tensor) -> Figure:
    fig = plots.figure(7, 3.4)
    ax = fig.add_subplot()
    ax.plot(torch.arange(x.shape[1]), x.T, color=plots.COLORS["data"], alpha=0.6, linewidth=1)
    axes_of_curves(ax)
    return fig


def panels(columns: dict[str, Tensor], *, row_labels: Sequence[str] = (), down: bool = False) -> Figure | None:
    """What becomes of some data: `columns` of one shape `(N, *event)` under their names, a row for each datum.

    Pictures are tiled, down the page if `down`; points and series have a panel for each column, and a datum keeps its
    colour. None for events of any other shape.
    """
    frames, names = torch.stack(list(columns.values())), list(columns)
    n, event = frames.shape[1], tuple(frames.shape[2:])
    if len(event) == 3 and event[0] in (1, 3):
        if down:
            flat = frames.reshape(-1, *event)
            return plots.image_grid(flat, n, row_labels=names, column_labels=row_labels)
        return plots.filmstrip(frames, column_labels=names, row_labels=row_labels)
    if event != (2,) and (len(event) != 2 or event[0] != 1):
        return None
    points = event == (2,)
    fig = plots.figure(2.6 * len(names), 3.0)
    axes = fig.subplots(1, len(names), squeeze=False)[0]
    angle = torch.atan2(frames[0, :, 1], frames[0, :, 0]) if points else torch.linspace(-math.pi, math.pi, n)
    colors = colormaps["twilight"](angle.double().numpy() / (2 * math.pi) + 0.5)
    for ax, name, frame in zip(axes, names, frames, strict=True):
        if points:
            ax.scatter(frame[:, 0], frame[:, 1], s=5, c=colors, linewidths=0)
            ax.set_aspect("equal")
        else:
            for line, color in zip(frame[:SERIES_SHOWN, 0], colors, strict=False):
                ax.plot(torch.arange(len(line)), line, color=color, linewidth=1)
        axes_of_curves(ax, title=name)
    return fig
