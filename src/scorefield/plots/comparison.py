"""Pictures of a comparison: every seed's distance and modes, and what the samples look like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike
from torch import Tensor

from scorefield.plots.images import image_grid
from scorefield.plots.style import COLORS, INK, axes_of_curves, clean, figure


def of_seeds(
    columns: Mapping[str, Mapping[str, Sequence[float]]], floors: Mapping[str, float], *, log: Sequence[str] = ()
) -> Figure:
    """A row for each method, a panel for each measure, a dot for each seed; the dotted line is what real data have.

    Args:
        columns: measure -> method -> its values, one for each seed.
        floors: measure -> value of real data.
        log: measures on a logarithmic axis.
    """
    methods = list(next(iter(columns.values())))
    fig = figure(3.2 * len(columns) + 2.2, 0.27 * len(methods) + 1.2)
    axes = fig.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for ax, (measure, values) in zip(axes, columns.items(), strict=True):
        for i, name in enumerate(methods):
            ax.plot(values[name], [i] * len(values[name]), "o", color=COLORS["first"], alpha=0.6, markersize=5, mew=0)
        ax.axvline(floors[measure], color=COLORS["truth"], linestyle=":")
        if measure in log:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
        axes_of_curves(ax, title=measure)
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].invert_yaxis()
    return fig


def of_planes(
    clouds: Mapping[str, ArrayLike], modes: ArrayLike, missing: Mapping[str, Sequence[int]], *, columns: int = 6
) -> Figure:
    """A cloud of points for each method; the modes it has lost are ringed."""
    centres = np.asarray(modes)
    half = 1.25 * float(np.abs(centres).max())
    rows = math.ceil(len(clouds) / columns)
    fig = figure(2.0 * columns, 2.25 * rows)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(clouds) :]:
        ax.set_visible(False)
    for ax, (name, cloud) in zip(axes, clouds.items(), strict=False):
        x = np.asarray(cloud)
        ax.scatter(x[:, 0], x[:, 1], s=1.2, color=COLORS["data"], alpha=0.5, linewidths=0)
        lost = centres[list(missing.get(name, ()))]
        ax.scatter(lost[:, 0], lost[:, 1], s=70, facecolors="none", edgecolors=COLORS["wrong"], linewidths=1.3)
        ax.set_xlim(-half, half)
        ax.set_ylim(-half, half)
        ax.set_aspect("equal")
        clean(ax, frame=True)
        ax.set_title(name, fontsize=8, color=INK)
    return fig


def of_pictures(sets: Mapping[str, Tensor], *, shown: int = 16) -> Figure:
    """A row of pictures `(N, C, H, W)` in [0, 1] for each method."""
    import torch

    return image_grid(torch.cat([x[:shown] for x in sets.values()]), shown, row_labels=list(sets))
