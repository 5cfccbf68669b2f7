"""Animated GIFs that stay small."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from scorefield._origin import origin
from scorefield.plots.style import COLORS, DENSITY, INK, PAPER
from scorefield.storage import files

LEVELS = 10  # shades of a density in an animation


def save_gif(
    fig: Figure,
    draw: Callable[[int], None],
    frames: int,
    path: Path,
    *,
    seconds_per_frame: float = 0.06,
    hold: float = 1.5,
    dpi: int = 72,
    colors: Sequence[str] = tuple(COLORS.values()),
) -> Path:
    """Writes the figure as `draw(i)` leaves it for i = 0 .. frames - 1; the last frame stays for `hold` seconds.

    All frames share one palette, made of `colors`, ink and `LEVELS` shades of density, and only what changes between
    two of them is stored: what stands still costs nothing. Its comment says which version and command made it.
    """
    fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    pictures = []
    for i in range(frames):
        draw(i)
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
        if i == 0:
            # laid out once: nothing may move between frames, and it is a third of the time
            fig.set_layout_engine("none")
    palette = _palette(colors)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(seconds_per_frame * 1000)] * (frames - 1) + [round(hold * 1000)]
    content = io.BytesIO()
    indexed[0].save(
        content, format="gif", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=True,
        disposal=1, comment=": ".join(origin().values()),
    )  # fmt: skip
    files.replace(path, content.getvalue())
    return path


def _palette(colors: Sequence[str]) -> Image.Image:
    """`colors` at several opacities over white and over the density's shades: a fixed palette, so no colour drifts."""
    paper = [np.array(to_rgb(PAPER)), *(np.array(DENSITY(v)[:3]) for v in np.linspace(0, 1, LEVELS))]
    ground = [paper[0], paper[LEVELS // 2], paper[-1]]
    ink = [
        opacity * np.array(to_rgb(color)) + (1 - opacity) * under
        for color in (INK, *colors)
        for opacity in (1.0, 0.75, 0.5, 0.25)
        for under in ground
    ]
    rgb = np.unique((np.array([*paper, *ink]) * 255).round().astype(np.uint8), axis=0)
    sheet = Image.new("P", (1, 1))
    sheet.putpalette(rgb.tobytes())
    return sheet
