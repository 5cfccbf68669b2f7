"""The picture of an evaluation: each number with its interval, beside what real data have."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from scorefield.evaluation import RATIOS, Evaluation, Judged
from scorefield.plots.shown import Look
from scorefield.plots.style import COLORS, MUTED, axes_of_curves, figure

AREAS = ("precision", "recall", "density", "coverage", "two_sample", "memorization")


def of_evaluation(found: Evaluation, look: Look | None = None) -> Any:
    """Distances in floors, shares beside those of real data, and the classes where there are any."""
    look = look or Look()
    distances = [r for r in found.rows if r.numbers["metric"] in RATIOS and (r.numbers["floor"] or 0) > 0]
    shares = [r for r in found.rows if r.numbers["metric"] in AREAS]
    panels = [p for p in (distances, shares, found.classes) if p]
    fig = figure(4 * len(panels), 1.2 + 0.36 * max(len(p) for p in panels))
    for ax, rows in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        in_floors = rows is distances
        names = [r.numbers["metric"].replace("_", " ") for r in rows]
        if rows is found.classes:
            names = [look.called(k) for k in range(len(rows))]
        _forest(ax, rows, names, in_floors)
        title = "distances to held-out data" if in_floors else "shares" if rows is shares else "classes"
        beside = "over the floor, that of real data; bars without bias" if in_floors else "grey marks: of real data"
        axes_of_curves(ax, x=beside, title=title)
        if in_floors:
            ax.axvline(1, color=COLORS["truth"], linestyle=":")
            ax.set_xlim(left=0)
    told = "dots: values; bars: intervals; red: told from real data by its test, or worse than real data"
    fig.suptitle(told, fontsize=9, color=MUTED)
    return fig


def _forest(ax: Axes, rows: list[Judged], names: list[str], in_floors: bool) -> None:
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
