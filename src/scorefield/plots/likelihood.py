"""The likelihoods of some data: their histogram, and below it the pictures at its two ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.plots.images import strip
from scorefield.plots.style import COLORS, axes_of_curves, figure


def likelihoods(
    values: Tensor,
    mean: str,
    *,
    unit: str,
    ends: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """How often each value was found.

    Args:
        values: `(N,)`.
        mean: of them, as it is to be read.
        unit: of `values`.
        ends: by title, (pictures `(n, C, H, W)` in [0, 1], their values `(n,)`).
        names: of those pictures, by title.
    """
    ends, names = ends or {}, names or {}
    fig = figure(7, 5.8 if ends else 3.4)
    top, *below = np.atleast_1d(fig.subplots(1 + len(ends), 1, height_ratios=[3, *[1.2] * len(ends)]))
    top.hist(np.asarray(values), bins=min(40, max(5, len(values) // 8)), color=COLORS["data"], alpha=0.75)
    top.axvline(float(values.double().mean()), color=COLORS["second"], linewidth=1.6, label=f"mean {mean}")
    top.legend(frameon=False, fontsize=9)
    axes_of_curves(top, x=unit, y="count")
    for ax, (title, (shown, of)) in zip(below, ends.items(), strict=True):
        numbers = [f"{v:.2f}" for v in of.tolist()]
        called = names.get(title, ())
        strip(ax, shown, [f"{n}\n{v}" for n, v in zip(called, numbers, strict=True)] if called else numbers)
        ax.set_title(f"{title}, and their {unit}; {len(shown)} of {len(values):,}", fontsize=10)
    return fig
