"""Pictures of few-step models."""

from __future__ import annotations

from typing import Any

from scorefield.auditing import Audit
from scorefield.plots.style import COLORS, axes_of_curves, figure


def of_audit(found: Audit) -> Any:
    """Where jumps err by noise level, and samples' distance to the data by evaluations, beside ODE and floor."""
    fig = figure(9, 3.6)
    left, right = fig.subplots(1, 2)
    ratios = [level.noise_ratio for level in found.levels]
    left.plot(ratios, [level.distance for level in found.levels], marker="o", color=COLORS["first"], label="one jump")
    left.plot(
        ratios,
        [level.spread for level in found.levels],
        color=COLORS["truth"],
        linestyle=":",
        label="a map that ignores its start",
    )
    left.set_xscale("log")
    axes_of_curves(
        left, x="noise / data's spread", y="rms distance to the ODE / sd", title="where a jump to the data lands"
    )
    left.legend(frameon=False, fontsize=8)
    nfes = [b.nfe for b in found.budgets]
    right.plot(nfes, [b.data for b in found.budgets], marker="o", color=COLORS["first"], label="jumps")
    right.axhline(found.ode.data, color=COLORS["second"], label=f"the ODE, {found.ode.nfe} evaluations")
    right.axhline(found.floor.mean, color=COLORS["truth"], linestyle=":", label="real to real, the floor")
    right.set_xscale("log", base=2)
    right.set_xticks(nfes, [str(n) for n in nfes])
    right.set_ylim(bottom=0)
    axes_of_curves(right, x="evaluations", y="sliced W2 to the data / sd", title="samples")
    right.legend(frameon=False, fontsize=8)
    return fig
