"""The likelihoods of some data: their histogram, and below it the pictures at its two ends."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.plots.images import strip
from scorefield.plots.style import COLORS, MUTED, axes_of_curves, figure


def likelihoods(
    values: Tensor, mean: str, *, unit: str, ends: dict[str, tuple[Tensor, Tensor]] | None = None
) -> Figure:
    """How often each value was found.

    Args:
        values: `(N,)`.
        mean: of them, as it is to be read.
        unit: of `values`.
        ends: by title, (pictures `(n, C, H, W)` in [0, 1], their values `(n,)`).
    """
    ends = ends or {}
    fig = figure(7, 5.2 if ends else 3.4)
    top, *below = np.atleast_1d(fig.subplots(1 + len(ends), 1, height_ratios=[3, *[1] * len(ends)]))
    top.hist(np.asarray(values), bins=min(40, max(5, len(values) // 8)), color=COLORS["data"], alpha=0.75)
    top.axvline(float(values.double().mean()), color=COLORS["second"], linewidth=1.6, label=f"mean {mean}")
    top.legend(frameon=False, fontsize=9)
    axes_of_curves(top, x=unit, y="count")
    for ax, (title, (shown, of)) in zip(below, ends.items(), strict=True):
        strip(ax, shown)
        width = shown.shape[-1] + 1
        centres = [width * (i + 0.5) - 1 for i in range(len(shown))]
        ax.set_xticks(centres, [f"{v:.2f}" for v in of.tolist()], fontsize=8, color=MUTED)
        ax.tick_params(length=0)
        ax.set_title(f"{title}, and their {unit}", fontsize=10)
    return fig
