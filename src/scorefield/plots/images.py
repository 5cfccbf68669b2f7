"""Pictures of images: labelled grids, filmstrips, samples beside their nearest training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from scorefield.plots.shown import WIDTH, Look, Shown, of
from scorefield.plots.style import COLORS, INK, MUTED, axes_of_curves, clean, figure

DPI = 110  # of a figure as it is saved
SHARP = "antialiased"  # pixels are squares where they are enlarged, and averaged where there is no room for them
PAIRS = 8  # samples above their nearest training data
CLASSES, EACH = 10, 6  # rows and columns of samples beside data, by class
SIDE = 6  # rows and columns of either, where there are no classes


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


def strip(ax: Axes, images: ArrayLike, names: Sequence[str] = ()) -> None:
    """Images side by side on `ax`, a white pixel between; `names` below each."""
    pixels = np.pad(to_pixels(images), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
    ax.imshow(np.concatenate(list(pixels), 1))
    clean(ax)
    if names:
        width = pixels.shape[2]
        ax.set_xticks([width * (i + 0.5) - 1 for i in range(len(names))], list(names), fontsize=8, color=MUTED)
        ax.tick_params(length=0)


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
    cell = max(0.5 if rows * columns > 40 else 0.7, (w + 1) / DPI)  # no pixel is left out
    beside = 0.3 + 0.1 * max((len(line) for label in row_labels for line in label.split("\n")), default=3)
    above = 0.11 + 0.14 * max(label.count("\n") + 1 for label in column_labels) if column_labels else 0
    told = 0.2 + 0.2 * (title.count("\n") + 1) if title else 0.2
    fig = figure(max(columns * cell + beside, 0.075 * len(title.split("\n")[0])), rows * cell * h / w + told + above)
    ax = fig.add_subplot()
    ax.imshow(tile(pixels, columns, gap=1, scale=1), interpolation=SHARP)
    clean(ax)
    _ticks(ax, "y", row_labels, h)
    _ticks(ax, "x", column_labels, w)
    if title:
        ax.set_title(title, fontsize=10, color=INK, pad=8)
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


def beside(
    made: Tensor, real: Tensor, look: Look, what: str, *, asked: Tensor | None = None, labels: Tensor | None = None
) -> list[Shown]:
    """Pictures `(N, C, H, W)` of 0 .. levels - 1, samples on the left, data on the right; a row for each class."""
    names: list[str] = []
    by_class = ""
    left, right = [*range(min(SIDE**2, len(made)))], [*range(min(SIDE**2, len(real)))]
    columns = SIDE
    if asked is not None and labels is not None:
        every = [k for k in sorted(set(asked.tolist())) if bool((labels == k).any())]
        found = every[:CLASSES]
        by_class = f" A row for each class; {of(len(found), len(every), 'classes')}."
        places = [[(of_set == k).nonzero().flatten().tolist() for k in found] for of_set in (asked, labels)]
        columns = min(EACH, *(len(rows) for rows in (*places[0], *places[1])))
        left, right = ([i for rows in side for i in rows[:columns]] for side in places)
        names = [look.called(k) for k in found]
    top = (look.levels or 2) - 1
    a, b = (to_pixels(x.double() / top) for x in (made[left], real[right]))
    h, w = a.shape[1:3]
    rows = -(-max(len(a), len(b)) // columns)
    fig = figure(WIDTH, 0.5 + ((WIDTH - 0.6) / (2 * columns)) * rows * h / w)
    titles = (of(len(a), len(made), "samples"), of(len(b), len(real), "data"))
    for i, (ax, pixels, title) in enumerate(zip(fig.subplots(1, 2), (a, b), titles, strict=True)):
        ax.imshow(tile(pixels, columns, gap=1, scale=1), interpolation=SHARP)
        clean(ax)
        ax.set_title(title, fontsize=10, color=INK)
        if i == 0:
            _ticks(ax, "y", names, h)
    text = f"{titles[0]} on the left, {of(len(b), len(real), what)} on the right. Nothing was chosen.{by_class}"
    rows_said = f" The rows are {', '.join(names)}." if names else ""
    alt = f"{len(a)} generated pictures beside {len(b)} real ones, {h} by {w} pixels.{rows_said}"
    return [Shown("Samples beside data", text, alt, fig)]


def neighbours(
    samples: ArrayLike,
    nearest: ArrayLike,
    sample_distances: ArrayLike,
    reference_distances: ArrayLike | None,
    *,
    distances: ArrayLike,
    low: float = 0.0,
    high: float = 1.0,
) -> Figure:
    """Samples above their nearest training data, and whether they are nearer to it than held-out data are.

    Args:
        samples, nearest: `(N, C, H, W)`, shown in pairs.
        distances: `(N,)` of those pairs.
        sample_distances, reference_distances: to the nearest training datum, of all samples and of held-out data; None
            where nothing was held out.
    """
    shown, pairs = len(np.asarray(samples)), np.asarray(distances)
    top, bottom = to_pixels(samples, low, high), to_pixels(nearest, low, high)
    fig = figure(max(WIDTH, 0.55 * shown + 1), 4.2)
    layout = fig.add_gridspec(2, 1, height_ratios=[1.25, 2])
    ax = fig.add_subplot(layout[0])
    h, w = top.shape[1:3]
    ax.imshow(tile(np.concatenate([top, bottom]), shown, gap=1, scale=1), interpolation=SHARP)
    clean(ax)
    _ticks(ax, "y", ["sample", "nearest"], h)
    _ticks(ax, "x", [f"{d:.2f}" for d in pairs], w)
    which = of(shown, len(np.asarray(sample_distances)), "samples")
    title = f"{which}; below each the nearest training datum, above the distance"
    ax.set_title(title, fontsize=9, color=INK, pad=8)
    _distances(fig.add_subplot(layout[1]), sample_distances, reference_distances)
    return fig


def distances(samples: ArrayLike, reference: ArrayLike | None) -> Figure:
    """The second half of `neighbours`, of data that are no pictures."""
    fig = figure(WIDTH, 2.8)
    _distances(fig.add_subplot(), samples, reference)
    return fig


def _distances(ax: Axes, samples: ArrayLike, reference: ArrayLike | None) -> None:
    held_out = {} if reference is None else {"held-out data": reference}
    histograms(ax, {**held_out, "samples": samples}, x="distance to the nearest training datum")


def histograms(ax: Axes, values: dict[str, Any], *, x: str) -> None:
    """Densities of several sets of numbers on one axis, with their medians."""
    arrays = {name: np.asarray(v, dtype=np.float64) for name, v in values.items()}
    everything = np.concatenate(list(arrays.values()))
    edges = np.linspace(min(0.0, everything.min()), everything.max() * 1.05 + 1e-12, 41)
    usual = [COLORS[c] for c in ("truth", "second", "third")]
    for i, (name, v) in enumerate(arrays.items()):
        color = COLORS["second"] if name == "samples" else usual[i % len(usual)]
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
