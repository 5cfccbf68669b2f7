"""Pictures of series `(N, C, L)`: lines with axis and unit, samples beside data, second moments beside the data's."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.metrics.series import autocorrelation, periodogram
from scorefield.plots.curves import curves_colors
from scorefield.plots.shown import WIDTH, Look, Shown, of
from scorefield.plots.style import COLORS, axes_of_curves, figure

SHOWN = 6  # series in a panel
CHANNELS = 4  # of a series that are drawn
WITHIN = 1.645  # standard errors to either side: 90%


def channels(x: Tensor, look: Look) -> tuple[Tensor, Tensor]:
    """(series `(N, C, L)` without their mask, where they are `(N, 1, L)`) of events (L,) or (C, L)."""
    x = (x[:, None] if x.ndim == 2 else x).double().cpu()
    if not look.masked:
        return x, torch.ones_like(x[:, :1], dtype=torch.bool)
    return x[:, :-1], x[:, -1:] > 0.5


def lengths(x: Tensor, look: Look) -> Tensor:
    """`(N,)` int64: how many numbers each series has."""
    return channels(x, look)[1][:, 0].expand(len(x), x.shape[-1]).sum(-1)


def axis_of(length: int, look: Look) -> Tensor:
    """The places of the numbers of a series on its axis."""
    return torch.arange(length, dtype=torch.float64, device="cpu") * look.step


def lines(ax: Axes, x: Tensor, there: Tensor, look: Look, colors: list[str]) -> None:
    """Series `(n, L)`, each in its colour, up to where it ends."""
    at = axis_of(x.shape[-1], look)
    for series, mask, color in zip(x, there, colors, strict=False):
        ax.plot(at, torch.where(mask, series, math.nan), color=color, linewidth=1, alpha=0.85)


def of_series(x: Tensor, look: Look) -> Figure:
    """Some series, a panel for each channel."""
    series, there = channels(x[:SHOWN], look)
    many = min(CHANNELS, series.shape[1])
    fig = figure(7, 0.9 + 2.1 * many)
    colors = curves_colors(len(series))
    for c, ax in enumerate(fig.subplots(many, 1, squeeze=False)[:, 0]):
        lines(ax, series[:, c], there[:, 0], look, colors)
        title = of(len(series), len(x), "series") if c == 0 else ""
        axes_of_curves(ax, x=_axis(look) if c == many - 1 else "", y=_value(look, c, series.shape[1]), title=title)
    return fig


def beside(made: Tensor, real: Tensor, look: Look, what: str) -> list[Shown]:
    """Samples beside data `what`, and their spectra and autocorrelations."""
    (a, a_there), (b, b_there) = channels(made, look), channels(real, look)
    many, n = min(CHANNELS, a.shape[1]), min(SHOWN, len(a), len(b))
    fig, colors = figure(WIDTH, 0.9 + 1.8 * many), curves_colors(n)
    for c, (left, right) in enumerate(fig.subplots(many, 2, sharex=True, sharey="row", squeeze=False)):
        for ax, x, there, name in (
            (left, a, a_there, of(n, len(a), "samples")),
            (right, b, b_there, of(n, len(b), "data")),
        ):
            lines(ax, x[:n, c], there[:n, 0], look, colors)
            y = _value(look, c, a.shape[1]) if ax is left else ""
            axes_of_curves(ax, x=_axis(look) if c == many - 1 else "", y=y, title=name if c == 0 else "")
    ends = _ends(made, real, look)
    return [
        Shown(
            "Samples beside data",
            f"{of(n, len(a), 'samples')} on the left, {of(n, len(b), what)} on the right, on the same axes."
            f"{_channels_said(many, a.shape[1])}{ends}",
            f"Line plots of {n} generated series and of {n} real ones over {_axis(look)}.",
            fig,
        ),
        _second_moments(a, a_there, b, b_there, look),
    ]


def _second_moments(a: Tensor, a_there: Tensor, b: Tensor, b_there: Tensor, look: Look) -> Shown:
    many = min(CHANNELS, a.shape[1])
    fig = figure(WIDTH, 0.9 + 2.0 * many)
    sets = (("data", b, b_there, COLORS["truth"]), ("samples", a, a_there, COLORS["second"]))
    apart = []
    for c, (left, right) in enumerate(fig.subplots(many, 2, squeeze=False)):
        remembered = []
        for name, x, there, color in sets:
            spectrum = periodogram(x[:, c], step=look.step, mask=there[:, 0])
            _band(left, spectrum.frequency, spectrum.power, name, color)
            r = autocorrelation(x[:, c], mask=there[:, 0])
            _band(right, axis_of(r.shape[-1], look), r, name, color)
            remembered.append(r.mean(0))
        apart.append(float((remembered[0] - remembered[1]).abs().max()))
        left.set_yscale("log")
        of_channel = f", channel {c}" if a.shape[1] > 1 else ""
        axes_of_curves(left, x=f"frequency, cycles per {_one(look)}", y="power", title=f"spectrum{of_channel}")
        axes_of_curves(right, x=f"lag, {_one(look)}", y="", title=f"autocorrelation{of_channel}")
        left.legend(frameon=False, fontsize=8)
    return Shown(
        "Spectrum and autocorrelation",
        f"Means over {len(a):,} samples and {len(b):,} data; shaded, where the mean would fall in 90% of draws. The "
        f"autocorrelations differ by at most {max(apart):.2f}.",
        f"Power over frequency and autocorrelation over lag, samples on data; the autocorrelations differ by at most "
        f"{max(apart):.2f}.",
        fig,
    )


def pairs(made: Tensor, nearest: Tensor, distances: Tensor, look: Look) -> Figure:
    """Samples drawn over the training series nearest to each, the distance above."""
    (a, a_there), (b, b_there) = channels(made, look), channels(nearest, look)
    n = min(SHOWN, len(a))
    columns = 3
    fig = figure(WIDTH, 0.6 + 1.3 * math.ceil(n / columns))
    axes = fig.subplots(math.ceil(n / columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_visible(False)
    for i, ax in enumerate(axes[:n]):
        lines(ax, b[i : i + 1, 0], b_there[i], look, [COLORS["truth"]])
        lines(ax, a[i : i + 1, 0], a_there[i], look, [COLORS["second"]])
        axes_of_curves(ax, title=f"sample {i}: {float(distances[i]):.2f}")
    return fig


def _band(ax: Axes, x: Tensor, values: Tensor, name: str, color: str) -> None:
    mean, error = values.mean(0), WITHIN * values.std(0, correction=0) / math.sqrt(len(values))
    ax.fill_between(x, mean - error, mean + error, color=color, alpha=0.25, linewidth=0)
    ax.plot(np.asarray(x), np.asarray(mean), color=color, linewidth=1.5, label=name)


def _ends(made: Tensor, real: Tensor, look: Look) -> str:
    """How long series are, where they are of several lengths."""
    if not look.masked:
        return ""
    a, b = ((lengths(x, look).double() * look.step) for x in (made, real))
    return (
        f" Lengths: samples {float(a.mean()):.4g} on average ({float(a.min()):.4g} to {float(a.max()):.4g}), data "
        f"{float(b.mean()):.4g} ({float(b.min()):.4g} to {float(b.max()):.4g})."
    )


def _channels_said(shown: int, all_: int) -> str:
    return f" {of(shown, all_, 'channels')}, one below the other." if all_ > 1 else ""


def _axis(look: Look) -> str:
    return look.axis or "place in the series"


def _one(look: Look) -> str:
    """The unit of the axis: "s" of "time (s)"."""
    if "(" in look.axis and look.axis.endswith(")"):
        return look.axis.rpartition("(")[2][:-1]
    return look.axis or "step"


def _value(look: Look, channel: int, of_channels: int) -> str:
    name = f"channel {channel}" if of_channels > 1 else "value"
    return f"{name} ({look.unit})" if look.unit else name
