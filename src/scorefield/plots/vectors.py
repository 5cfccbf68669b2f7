"""Pictures of vectors `(N, d)`: points of the plane, and how each entry, and each pair of them, is distributed."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.plots.shown import WIDTH, Look, Shown, of
from scorefield.plots.style import COLORS, axes_of_curves, figure

ENTRIES = 12  # whose histograms are drawn
CORRELATED = 64  # entries whose correlations are drawn
POINTS = 4000


def points(made: Tensor, real: Tensor, look: Look, what: str) -> list[Shown]:
    """Clouds of samples and of data side by side, on the same axes."""
    a, b = made[:POINTS].double().cpu(), real[:POINTS].double().cpu()
    fig = figure(WIDTH, 3.2)
    for ax, x, name in zip(
        fig.subplots(1, 2, sharex=True, sharey=True),
        (a, b),
        (of(len(a), len(made), "samples"), of(len(b), len(real), "data")),
        strict=True,
    ):
        cloud(ax, x)
        axes_of_curves(ax, title=name)
    low, high = _within(b[:, 0]), _within(b[:, 1])
    return [
        Shown(
            "Samples beside data",
            f"{of(len(a), len(made), 'samples')} on the left, {of(len(b), len(real), what)} on the right.",
            f"Two clouds of points; the data's lie at {low} across and {high} up, the samples' at {_within(a[:, 0])} "
            f"and {_within(a[:, 1])}.",
            fig,
        )
    ]


def cloud(ax: Axes, x: Tensor) -> None:
    """Points `(N, 2)`."""
    ax.scatter(x[:, 0], x[:, 1], s=3, color=COLORS["data"], alpha=0.6, linewidths=0)
    ax.set_aspect("equal")


def beside(made: Tensor, real: Tensor, look: Look, what: str) -> list[Shown]:
    """Histograms of the entries, and the correlations of all pairs, of samples and of data."""
    a, b = (x.flatten(1).double().cpu().numpy() for x in (made, real))
    names = list(look.columns) or [f"entry {j}" for j in range(a.shape[1])]
    n = min(ENTRIES, a.shape[1])
    off = np.abs(a.mean(0) - b.mean(0)) / np.maximum(b.std(0), 1e-12)
    worst = int(off.argmax())
    said = (
        f"Of the {a.shape[1]} means that of {names[worst]} is farthest off, by {off[worst]:.2f} of the data's standard "
        "deviation."
    )
    found = [
        Shown(
            "Samples beside data",
            f"Each entry's histogram over {len(a):,} samples and {len(b):,} {what}; {of(n, a.shape[1], 'entries')}. "
            f"{said}",
            f"Histograms of {n} entries, samples over data. {said}",
            _marginals(a[:, :n], b[:, :n], names),
        )
    ]
    if 2 <= a.shape[1] <= CORRELATED:
        of_a, of_b = _correlations(a), _correlations(b)
        apart = float(np.abs(of_a - of_b).max())
        text = f"Of each pair of entries, samples on the left. They differ by at most {apart:.2f}."
        found.append(Shown("Correlations", text, f"Two matrices of correlations. {text}", _matrices(of_a, of_b)))
    return found


def values(made: Tensor, real: Tensor, look: Look, what: str) -> list[Shown]:
    """The distribution of all numbers: for events of which nothing else can be drawn."""
    a, b = (x.flatten().double().cpu().numpy() for x in (made, real))
    text = f"All numbers of {len(made):,} samples and of {len(real):,} {what}, whatever their place in a datum."
    fig = _marginals(a[:, None], b[:, None], ["all numbers"])
    return [Shown("Samples beside data", text, f"Two histograms. {text}", fig)]


def _marginals(a: np.ndarray, b: np.ndarray, names: list[str]) -> Figure:
    n = a.shape[1]
    columns = min(3, n)
    fig = figure(WIDTH if columns > 1 else 4.5, 0.5 + 1.9 * math.ceil(n / columns))
    axes = fig.subplots(math.ceil(n / columns), columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_visible(False)
    for j, ax in enumerate(axes[:n]):
        both = np.concatenate([a[:, j], b[:, j]])
        edges = np.linspace(both.min(), both.max() + 1e-12, 31)
        for x, name, color in ((b, "data", COLORS["truth"]), (a, "samples", COLORS["second"])):
            ax.hist(x[:, j], edges, density=True, alpha=0.45, color=color, label=name)
        axes_of_curves(ax, title=names[j])
        ax.set_yticks([])
        if j == 0:
            ax.legend(frameon=False, fontsize=8)
    return fig


def _matrices(a: np.ndarray, b: np.ndarray) -> Figure:
    fig = figure(WIDTH, 2.7)
    axes = fig.subplots(1, 2)
    for ax, matrix, title in zip(axes, (a, b), ("samples", "data"), strict=True):
        shown = ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes_of_curves(ax, title=title)
        ax.grid(False)
    fig.colorbar(shown, ax=list(axes), label="correlation", fraction=0.05)
    return fig


def _correlations(x: np.ndarray) -> np.ndarray:
    standard = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    return standard.T @ standard / len(x)


def _within(x: Tensor) -> str:
    low, high = torch.quantile(x, torch.tensor([0.05, 0.95], dtype=x.dtype, device=x.device)).tolist()
    return f"{low:.2g} to {high:.2g}"
