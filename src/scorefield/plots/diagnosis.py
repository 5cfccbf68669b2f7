"""A diagnosis as a picture and as a page."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorefield.diagnostics import Diagnosis
from scorefield.plots.page import Row, Section, write_page
from scorefield.plots.style import COLORS, axes_of_curves, figure


def of_diagnosis(found: Diagnosis) -> Figure:
    """Errors over those of Gaussian data; D's distance to the references on data and on its own paths; two ratios.

    The levels of the worst finding are shaded.
    """
    fig = figure(12, 3.6)
    left, middle, right = fig.subplots(1, 3)
    levels = found.levels
    x = [v.noise_ratio for v in levels]
    gaussian = [v.noise_ratio**2 / (1 + v.noise_ratio**2) for v in levels]
    for name, label, color, style in (
        ("error", "held out", COLORS["first"], "-"), ("train_error", "training", COLORS["third"], "-"),
        ("reference", "best reference", COLORS["truth"], ":"),
    ):  # fmt: skip
        left.plot(
            x, [getattr(v, name) / g for v, g in zip(levels, gaussian, strict=True)], style, color=color, label=label
        )
    left.set_yscale("log")
    axes_of_curves(left, x="noise / data's spread", y="squared error / a Gaussian's", title="denoising error")
    middle.plot(x, [v.on_data for v in levels], color=COLORS["first"], label="data's noisings")
    middle.plot(x, [v.own for v in levels], color=COLORS["second"], label="its own paths")
    middle.set_yscale("log")
    axes_of_curves(
        middle, x="noise / data's spread", y="rms distance / sd", title="distance of D to the best reference"
    )
    right.plot(x, [v.tweedie for v in levels], color=COLORS["first"], label="Tweedie's trace / residual (1)")
    right.plot(x, [v.correctable for v in levels], color=COLORS["second"], label="affine correction's share (0)")
    right.plot(x, [v.asymmetry for v in levels], color=COLORS["truth"], linestyle=":", label="Jacobian's asymmetry")
    right.set_ylim(-0.1, 2)
    axes_of_curves(right, x="noise / data's spread", title="what an exact denoiser satisfies")
    for ax in (left, middle, right):
        ax.set_xscale("log")
        _shade(ax, found)
        ax.legend(frameon=False, fontsize=8)
    return fig


def _shade(ax: Axes, found: Diagnosis) -> None:
    where = found.findings[0].levels if found.findings else None
    if where is None or where[0] == where[1]:
        return
    std = found.facts["data_std"]
    ax.axvspan(where[0] / std, where[1] / std, color=COLORS["fourth"], alpha=0.2, linewidth=0)


def page(found: Diagnosis, path: Path, picture: Path, *, title: str) -> Path:
    """Writes the page of a diagnosis: the sentence, the findings, the picture, the table."""
    it, rows = found.facts, [Row(f.name, f"{f.severity:.2g} sd", f.sentence) for f in found.findings]
    facts = [
        Row("samples' distance to the data", f"{it['sliced_wasserstein']:.3f}",
            f"sliced W2 over the data's sd; floor {it['sliced_wasserstein_floor']:.3f}"),
        Row("noise range", f"{it['lowest_noise']:.3g} to {it['highest_noise']:.3g}", "sigma / alpha"),
        Row("data", f"{it['data_mean']:.3g} +- {it['data_std']:.3g}",
            f"the denoiser states {it['stated_mean']:.3g} +- {it['stated_std']:.3g}, its samples have "
            f"{it['samples_mean']:.3g} +- {it['samples_std']:.3g}"),
    ]  # fmt: skip
    table = [
        Row(
            f"noise {v.noise_ratio:.3g}", f"{v.error:.2e}",
            f"training {v.train_error:.2e}; reference {v.reference:.2e} ({v.by}); own paths {v.own:.2e}, on data "
            f"{v.on_data:.2e}; Tweedie {v.tweedie:.2f}; asymmetry {v.asymmetry:.3f}; "
            f"Fokker-Planck {v.fokker_planck:.2f}",
        )
        for v in found.levels
    ]  # fmt: skip
    text = (
        "Left: the denoiser's squared error over that of Gaussian data, on data held out and on data it was trained "
        "on, and what the best reference made of the data alone has. Middle: how far it is from that reference, on "
        "data's noisings and along its own trajectories. Right: ratios that are 1 and 0 for an exact denoiser; a "
        "Jacobian that is not symmetric is no alarm by itself. Shaded: the levels of the worst finding."
    )
    return write_page(
        path, title=title, lead=found.sentence, rows=[*rows, *facts],
        sections=[Section("By noise level", text, picture, _alt(found))],
        facts=[row for row in table if not math.isnan(float(row.value))],
    )  # fmt: skip


def _alt(found: Diagnosis) -> str:
    levels = [v for v in found.levels if v.reference > 0]
    ends = f"{found.levels[0].noise_ratio:.2g} to {found.levels[-1].noise_ratio:.2g}"
    said = f"Three panels over the noise level, {ends} of the data's spread."
    if not levels:
        return said
    worst = max(levels, key=lambda v: v.error / v.reference)
    return (
        f"{said} The error on held-out data is farthest above the best reference at {worst.noise_ratio:.2g}, "
        f"{worst.error / worst.reference:.2g} times it."
    )
