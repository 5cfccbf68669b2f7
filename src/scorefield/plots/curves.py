"""Curves and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scorefield.plots.style import COLORS, axes_of_curves, figure

SERIES = tuple(COLORS[name] for name in ("first", "second", "third", "fourth", "truth"))


def curves_colors(n: int) -> list[str]:
    """`n` colours that can be told apart."""
    extended = [*SERIES, "#7b5ea7", "#8c6d46", "#56b4e9", "#c2185b", "#4d7c0f"]
    return [extended[i % len(extended)] for i in range(n)]


def curves(
    ax: Axes, x: ArrayLike, lines: Mapping[str, ArrayLike], *, x_label: str = "", y_label: str = "", title: str = ""
) -> None:
    """Named lines over one x."""
    for i, (name, y) in enumerate(lines.items()):
        ax.plot(np.asarray(x), np.asarray(y), label=name, color=curves_colors(i + 1)[i], linewidth=1.6)
    axes_of_curves(ax, x=x_label, y=y_label, title=title)
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize=9)


def loss_curve(steps: ArrayLike, losses: ArrayLike, *, y_label: str = "loss") -> Figure:
    """A training curve: each step faint, the running mean (over 2% of the steps) on top where that is more than one
    step; a logarithmic axis where all losses are positive."""
    steps, losses = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    fig = figure(5.6, 3.0)
    ax = fig.add_subplot()
    window = max(1, len(losses) // 50)
    ax.plot(steps, losses, color=COLORS["first"], alpha=0.25, linewidth=0.8, label="each step")
    if window > 1:
        mean = np.convolve(losses, np.ones(window) / window, "valid")
        ax.plot(steps[window - 1 :], mean, color=COLORS["first"], linewidth=1.8, label=f"mean of {window} steps")
    if not bool((losses <= 0).any()):
        ax.set_yscale("log")
    axes_of_curves(ax, x="step", y=y_label)
    ax.legend(frameon=False, fontsize=9)
    return fig


def loss_by_level(levels: Sequence[tuple[float, float]], *, y_label: str = "loss") -> Figure:
    """The mean loss at each noise level, (sigma / alpha, loss): where the model learns, and where it does not."""
    fig = figure(5.6, 3.0)
    ax = fig.add_subplot()
    s, losses = zip(*levels, strict=True) if levels else ((), ())
    ax.plot(s, losses, color=COLORS["first"], linewidth=1.6, marker="o", markersize=3.5)
    ax.set_xscale("log")
    axes_of_curves(ax, x="sigma / alpha", y=y_label)
    return fig


def error_by_level(
    ratios: ArrayLike, errors: Mapping[str, ArrayLike], gaussian: ArrayLike, *, x_label: str = "noise / data's spread"
) -> Figure:
    """Errors of a denoiser by noise level, by the name of the data they were had on, below that of Gaussian data.

    Args:
        ratios: sigma / alpha over the data's standard deviation.
        errors: root mean squares over the data's standard deviation.
        gaussian: of the best denoiser of Gaussian data that have that deviation and no structure.
    """
    fig = figure(5.6, 3.2)
    ax = fig.add_subplot()
    ax.plot(ratios, gaussian, color=COLORS["truth"], linestyle=":", linewidth=1.4, label="data without structure")
    for (name, y), color in zip(errors.items(), (COLORS["second"], COLORS["first"]), strict=False):
        ax.plot(ratios, y, color=color, linewidth=1.6, marker="o", markersize=3.5, label=name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    axes_of_curves(ax, x=x_label, y="error / data's spread")
    ax.legend(frameon=False, fontsize=9)
    return fig


def bars(ax: Axes, groups: Mapping[str, ArrayLike], colors: Sequence[str], *, x_label: str, y_label: str) -> None:
    """Grouped bars: one group for each index, one bar in it for each name."""
    width = 0.8 / len(groups)
    for i, ((name, heights), color) in enumerate(zip(groups.items(), colors, strict=True)):
        heights = np.asarray(heights)
        ax.bar(
            np.arange(len(heights)) + (i - (len(groups) - 1) / 2) * width,
            heights,
            width * 0.92,
            label=name,
            color=color,
        )
    first = np.asarray(next(iter(groups.values())))
    ax.set_xticks(np.arange(len(first)), [str(k + 1) for k in range(len(first))])
    axes_of_curves(ax, x=x_label, y=y_label)
    ax.grid(False, axis="x")
    ax.legend(frameon=False, fontsize=9)
