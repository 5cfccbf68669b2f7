"""Calibration in one figure: ranks, coverage, TARP, and how well the data are explained."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.metrics import Coverage, Ranks, uniform_band
from scorefield.plots.style import COLORS, axes_of_curves, figure

COLUMNS = 64  # lines of ranks in a panel


class Checked(Protocol):
    """What is drawn: an `inverse.Calibration`."""

    @property
    def ranks(self) -> Ranks: ...
    @property
    def coverage(self) -> Coverage: ...
    @property
    def tarp(self) -> Ranks: ...
    @property
    def predictive(self) -> Tensor: ...


def calibration(checked: Checked, *, title: str = "") -> Figure:
    """Four panels. The grey bands hold 95 % of what a right posterior gives; the first three should stay inside.

    Shares of ranks are drawn less what uniform ones have: a hump left of the middle and a dip right of it says that
    samples are too narrow, the reverse too wide, one sign alone that they are off to one side.
    """
    fig = figure(12, 3.2)
    axes = fig.subplots(1, 4)
    _ecdf(axes[0], checked.ranks, "SBC: ranks of the truths")
    _coverage(axes[1], checked.coverage)
    _ecdf(axes[2], checked.tarp, "TARP: balls that hold the truth")
    axes[3].hist(checked.predictive.numpy(), bins=np.linspace(0, 1, 21), color=COLORS["first"])
    axes_of_curves(axes[3], x="posterior predictive p-value", y="measurements", title="misfit to the data")
    if title:
        fig.suptitle(title, fontsize=11)
    return fig


def _ecdf(ax: Axes, ranks: Ranks, title: str) -> None:
    u, _ = ranks.ecdf()
    # a rank of at most k of n has probability (k + 1) / (n + 1)
    level = (torch.arange(ranks.samples + 1, dtype=torch.float64) + 1) / (ranks.samples + 1)
    band = uniform_band(len(ranks.ranks), level)
    ax.fill_between(u, -band, band, color="#e5e7eb", linewidth=0)
    columns = ranks.ranks.shape[1]
    shown = torch.linspace(0, columns - 1, min(columns, COLUMNS)).round().long().tolist()
    for column in shown:
        ax.plot(u, ranks.ecdf(column)[1] - level, color=COLORS["first"], linewidth=1, alpha=max(0.15, 1 / len(shown)))
    axes_of_curves(ax, x="rank / n", y="share below, less uniform's", title=f"{title}\np = {ranks.p_value:.2g}")


def _coverage(ax: Axes, coverage: Coverage) -> None:
    low, high = coverage.interval()
    levels, rates = coverage.levels, coverage.rates
    ax.plot([0, 1], [0, 1], color=COLORS["truth"], linewidth=1)
    error = torch.stack([rates - low, high - rates]).clamp(min=0)
    ax.errorbar(levels, rates, error, fmt="o", color=COLORS["first"], markersize=4, capsize=3)
    axes_of_curves(ax, x="level of the interval", y="truths inside", title="coverage, with 95 % intervals")
