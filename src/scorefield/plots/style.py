"""One look for every figure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scorefield._origin import origin
from scorefield.storage import files

INK, MUTED, PAPER = "#1f2937", "#6b7280", "#ffffff"

#: One colour for one thing, in every figure: told apart by readers who do not see red and green as different.
COLORS = {
    "truth": "#6b7280",
    "data": "#1d4e89",
    "first": "#1d4e89",
    "second": "#d1495b",
    "third": "#2a9d8f",
    "fourth": "#e9a03b",
    "stochastic": "#d1495b",
    "deterministic": "#1d4e89",
    "wrong": "#d1495b",
    "repaired": "#2a9d8f",
}

DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#e3eef7", "#c3dcee", "#9cc5e1", "#77add3"])


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, with its own Agg canvas."""
    fig = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def clean(ax: Axes, *, frame: bool = False) -> None:
    """No ticks; no frame unless asked for."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(frame)
        spine.set_color("#d1d5db")


def axes_of_curves(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Axes for curves: two spines, a light grid, labels in ink."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#9ca3af")
    ax.grid(True, color="#e5e7eb", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=9)
    ax.set_xlabel(x, color=INK, fontsize=10)
    ax.set_ylabel(y, color=INK, fontsize=10)
    if title:
        ax.set_title(title, color=INK, fontsize=11)


def png_bytes(fig: Figure, *, dpi: int = 110, colors: int | None = 256) -> bytes:
    """The figure as a PNG that says in its metadata which command and version made it.

    It has at most `colors` colours, which for plots is a third of the size and looks the same; all of them where
    pictures in colour are on it.
    """
    usual, canvas = fig.dpi, FigureCanvasAgg(fig)
    fig.set_dpi(dpi)
    try:  # drawn once, and not through savefig, which lays a figure out by drawing it
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    finally:
        fig.set_dpi(usual)
    colors = None if any(map(_in_colour, fig.findobj(AxesImage))) else colors
    if colors is not None:
        image = image.quantize(colors, dither=Image.Dither.NONE)
    told, content = PngInfo(), io.BytesIO()
    for name, value in origin().items():
        told.add_text(name, value)
    image.save(content, format="png", optimize=colors is not None, pnginfo=told, dpi=(dpi, dpi))
    return content.getvalue()


def _in_colour(shown: Artist) -> bool:
    pixels = shown.get_array() if isinstance(shown, AxesImage) else None
    if pixels is None or pixels.ndim != 3:
        return False
    r, g, b = np.moveaxis(np.asarray(pixels)[..., :3], -1, 0)
    return bool((r != g).any() or (g != b).any())


def save(fig: Figure, path: Path, *, dpi: int = 110, colors: int | None = 256) -> Path:
    """Writes the figure as a PNG, in one step, and returns its path: see `png_bytes`."""
    files.replace(path, png_bytes(fig, dpi=dpi, colors=colors))
    return path
