"""Samples in the data's own units, and a picture of them where their shape has one."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from scorefield import data, plots
from scorefield.data import Transform
from scorefield.plots.style import axes_of_curves

SERIES_SHOWN = 12


def raw(x: Tensor, transform: Transform | None) -> Tensor:
    """Model units to the data's: integers where they have levels."""
    if transform is None:
        return x
    continuous = transform.inverse(x)
    return continuous if transform.levels is None else data.quantize(continuous, transform.levels)


def unit(grey: Tensor, transform: Transform | None) -> Tensor:
    """Grey values as floats in [0, 1]: what is shown and measured."""
    assert transform is not None
    assert transform.levels is not None
    return grey.double() / (transform.levels - 1)


def of_samples(x_raw: Tensor, transform: Transform | None) -> Figure | None:
    """A grid of images, a cloud of points, or some series; None for events of any other shape."""
    event = x_raw.shape[1:]
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
