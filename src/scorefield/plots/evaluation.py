"""The picture of an evaluation: each number with its interval, beside what real data have."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from scorefield.evaluation import RATIOS, Evaluation, Judged
from scorefield.plots.style import COLORS, axes_of_curves, figure

AREAS = ("precision", "recall", "density", "coverage", "two_sample", "memorization")


def of_evaluation(found: Evaluation) -> Any:
    """Distances in floors, shares beside those of real data, and the classes where there are any."""
    distances = [r for r in found.rows if r.numbers["metric"] in RATIOS and (r.numbers["floor"] or 0) > 0]
    shares = [r for r in found.rows if r.numbers["metric"] in AREAS]
    panels = [p for p in (distances, shares, found.classes) if p]
    fig = figure(4 * len(panels), 1.2 + 0.36 * max(len(p) for p in panels))
    for ax, rows in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        in_floors = rows is distances
        _forest(ax, rows, in_floors)
        title = "distances / floor, bars without bias" if in_floors else "shares" if rows is shares else "classes"
        axes_of_curves(ax, title=title)
        if in_floors:
            ax.axvline(1, color=COLORS["truth"], linestyle=":")
            ax.set_xlim(left=0)
    return fig


def _forest(ax: Axes, rows: list[Judged], in_floors: bool) -> None:
    names = [r.numbers["metric"].replace("_", " ").removeprefix("class ") for r in rows]
    for place, row in enumerate(rows):
        s = row.numbers
        unit = s["floor"] if in_floors else 1.0
        color = COLORS["second"] if row.verdict.startswith(WORSE) else COLORS["first"]
        ax.plot([s["low"] / unit, s["high"] / unit], [place, place], color=color, linewidth=2, solid_capstyle="round")
        ax.plot([s["value"] / unit], [place], "o", color=color, markersize=5)
        if not in_floors:
            ax.plot([s["floor"]], [place], marker="|", color=COLORS["truth"], markersize=12, linestyle="none")
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)


WORSE = ("differs", "below", "nearer", "lost", "too")
