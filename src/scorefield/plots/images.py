"""Pictures of images: labelled grids, filmstrips, samples beside their nearest training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scorefield.plots.style import INK, MUTED, clean, figure


def to_pixels(images: ArrayLike, low: float = 0.0, high: float = 1.0) -> NDArray[np.uint8]:
    """Images `(N, C, H, W)` or `(N, H, W)` as bytes `(N, H, W, 3)`; values outside [low, high] are clipped.

    Raises:
        ValueError: for another shape, or channels other than 1 or 3.
    """
    array = np.asarray(images, dtype=np.float64)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(f"images must be (N, C, H, W) with C of 1 or 3, or (N, H, W); got shape {np.shape(images)}")
    scaled = np.clip((array - low) / (high - low), 0, 1) * 255
    return np.broadcast_to(scaled.round().astype(np.uint8).transpose(0, 2, 3, 1), (len(array), *array.shape[2:], 3))


def tile(pixels: NDArray[np.uint8], columns: int, *, gap: int = 1, scale: int = 6) -> NDArray[np.uint8]:
    """One picture of `(N, H, W, 3)` bytes in rows of `columns`, `gap` pixels of white apart, enlarged `scale` times."""
    n, h, w, _ = pixels.shape
    rows = -(-n // columns)
    big = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        r, c = divmod(i, columns)
        big[r * (h + gap) : r * (h + gap) + h, c * (w + gap) : c * (w + gap) + w] = image
    return big.repeat(scale, 0).repeat(scale, 1)


def strip(ax: Axes, images: ArrayLike) -> None:
    """Images side by side on `ax`, a white pixel between."""
    pixels = np.pad(to_pixels(images), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
    ax.imshow(np.concatenate(list(pixels), 1))
    clean(ax)


def image_grid(
    images: ArrayLike,
    columns: int,
    *,
    low: float = 0.0,
    high: float = 1.0,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Images in rows of `columns`; `row_labels` stand to the left, `column_labels` above."""
    pixels = to_pixels(images, low, high)
    rows = -(-len(pixels) // columns)
    h, w = pixels.shape[1:3]
    cell = 0.5 if rows * columns > 40 else 0.7
    fig = figure(columns * cell + 0.6, rows * cell * h / w + (0.5 if title else 0.2) + (0.25 if column_labels else 0))
    ax = fig.add_subplot()
    ax.imshow(tile(pixels, columns, gap=1, scale=1), interpolation="nearest")
    clean(ax)
    _ticks(ax, "y", row_labels, h)
    _ticks(ax, "x", column_labels, w)
    if title:
        ax.set_title(title, fontsize=11, color=INK, pad=8)
    return fig


def filmstrip(
    frames: ArrayLike,
    *,
    low: float = 0.0,
    high: float = 1.0,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """`frames` `(T, N, C, H, W)`: one row for each of N images, time running to the right.

    Raises:
        ValueError: for frames of another number of axes.
    """
    array = np.asarray(frames)
    if array.ndim != 5:
        raise ValueError(f"frames must be (T, N, C, H, W); got shape {array.shape}")
    ordered = array.swapaxes(0, 1).reshape(-1, *array.shape[2:])
    return image_grid(
        ordered, len(array), low=low, high=high, row_labels=row_labels, column_labels=column_labels, title=title
    )


def neighbours(
    samples: ArrayLike,
    nearest: ArrayLike,
    sample_distances: ArrayLike,
    reference_distances: ArrayLike,
    *,
    distances: ArrayLike,
    low: float = 0.0,
    high: float = 1.0,
) -> Figure:
    """Samples above their nearest training data, and whether they are nearer to it than held-out data are.

    Args:
        samples, nearest: `(N, C, H, W)`, shown in pairs.
        distances: `(N,)` of those pairs.
        sample_distances, reference_distances: to the nearest training datum, of all samples and of held-out data.
    """
    shown, pairs = len(np.asarray(samples)), np.asarray(distances)
    top, bottom = to_pixels(samples, low, high), to_pixels(nearest, low, high)
    fig = figure(max(8.0, 0.55 * shown + 1), 4.6)
    layout = fig.add_gridspec(2, 1, height_ratios=[1.25, 2])
    ax = fig.add_subplot(layout[0])
    h, w = top.shape[1:3]
    ax.imshow(tile(np.concatenate([top, bottom]), shown, gap=1, scale=1), interpolation="nearest")
    clean(ax)
    _ticks(ax, "y", ["sample", "nearest"], h)
    _ticks(ax, "x", [f"{d:.2f}" for d in pairs], w)
    ax.set_title("samples, and the training digit nearest to each (distance above)", fontsize=11, color=INK, pad=8)
    histograms(
        fig.add_subplot(layout[1]),
        {"held-out digits": reference_distances, "samples": sample_distances},
        x="distance to the nearest training digit",
    )
    return fig


def histograms(ax: Axes, values: dict[str, Any], *, x: str) -> None:
    """Densities of several sets of numbers on one axis, with their medians."""
    from scorefield.plots.style import COLORS, axes_of_curves

    arrays = {name: np.asarray(v, dtype=np.float64) for name, v in values.items()}
    everything = np.concatenate(list(arrays.values()))
    edges = np.linspace(min(0.0, everything.min()), everything.max() * 1.05 + 1e-12, 41)
    for (name, v), color in zip(arrays.items(), (COLORS["truth"], COLORS["second"], COLORS["third"]), strict=False):
        ax.hist(v, edges, density=True, alpha=0.45, color=color, label=f"{name} (median {np.median(v):.2f})")
        ax.axvline(float(np.median(v)), color=color, linewidth=1.5)
    axes_of_curves(ax, x=x, y="density")
    ax.legend(frameon=False, fontsize=9)


def _ticks(ax: Axes, axis: str, labels: Sequence[str], size: int) -> None:
    if not labels:
        return
    places = [i * (size + 1) + size / 2 - 0.5 for i in range(len(labels))]
    if axis == "y":
        ax.set_yticks(places, list(labels), fontsize=10, color=INK)
    else:
        ax.xaxis.tick_top()
        ax.set_xticks(places, list(labels), fontsize=8, color=MUTED)
    ax.tick_params(axis=axis, length=0)  # type: ignore[arg-type]
