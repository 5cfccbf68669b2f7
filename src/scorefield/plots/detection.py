"""How well a statistic tells judged data from a reference, and which of them are at the ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scorefield.metrics import roc_curve
from scorefield.plots.curves import curves_colors
from scorefield.plots.images import strip
from scorefield.plots.style import COLORS, axes_of_curves, figure


class Scored(NamedTuple):
    """Of one statistic."""

    reference: ArrayLike  # (n,) scores of what is normal
    judged: ArrayLike  # (N,) scores
    p: ArrayLike  # (N,) p-values
    area: float  # under the ROC curve


def detection(
    scored: Mapping[str, Scored],
    ends: Mapping[str, ArrayLike] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """ROC curves, the distribution of p-values, and below them the pictures of each end under its title.

    Args:
        scored: by the statistic's name.
        ends: pictures `(n, C, H, W)` in [0, 1].
        names: of those pictures, below each.
    """
    ends, names = ends or {}, names or {}
    fig = figure(9.5, 6.2 if ends else 4.0)
    layout = fig.add_gridspec(1 + len(ends), 2, height_ratios=[3, *[1.0] * len(ends)] if ends else [1])
    left, right = (fig.add_subplot(layout[0, i]) for i in range(2))
    for (name, s), color in zip(scored.items(), curves_colors(len(scored)), strict=True):
        curve = roc_curve(np.asarray(s.reference), np.asarray(s.judged))
        left.plot(curve.fpr, curve.tpr, color=color, linewidth=1.6, label=f"{name}, area {s.area:.3f}")
        p = np.sort(np.asarray(s.p))
        right.step(p, np.arange(1, len(p) + 1) / len(p), where="post", color=color, linewidth=1.6, label=name)
    for ax in (left, right):
        ax.plot([0, 1], [0, 1], color=COLORS["truth"], linewidth=1, linestyle="--")
    axes_of_curves(
        left,
        x="reference called anomalous",
        y="judged data called anomalous",
        title="ROC; diagonal: a coin",
    )
    axes_of_curves(right, x="p-value", y="share of judged data below", title="p-values; diagonal: nothing anomalous")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    for i, (title, shown) in enumerate(ends.items()):
        ax = fig.add_subplot(layout[1 + i, :])
        strip(ax, shown, names.get(title, ()))
        ax.set_title(title, fontsize=10)
    return fig
