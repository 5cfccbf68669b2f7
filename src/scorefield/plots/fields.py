"""Densities, vector fields and particles in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from numpy.typing import ArrayLike, NDArray

from scorefield.plots.style import DENSITY, INK


def limits(points: ArrayLike, margin: float = 1.15) -> float:
    """Half the side of a square around the origin that holds `points` `(N, 2)`."""
    return float(np.abs(np.asarray(points)).max()) * margin


def mesh(half: float, n: int) -> NDArray[np.float64]:
    """The `n` x `n` lattice of the square [-half, half]^2, `(n n, 2)`, x fastest."""
    line = np.linspace(-half, half, n)
    x, y = np.meshgrid(line, line)
    return np.stack([x.ravel(), y.ravel()], -1)


def shades(values: ArrayLike, power: float = 0.5) -> NDArray[np.float64]:
    """Densities as shades in [0, 1], as a square; `power` < 1 lifts the low values so that faint modes show."""
    values = np.asarray(values, dtype=np.float64)
    n = round(len(values) ** 0.5)
    return ((values / values.max()) ** power).reshape(n, n)


def density(ax: Axes, shade: ArrayLike, half: float, *, levels: int = 256) -> QuadMesh:
    """The `shades` of a density on `mesh(half, n)`, drawn in `levels` colours: few of them look like contours."""
    shade = np.asarray(shade)
    line = np.linspace(-half, half, len(shade))
    cmap = DENSITY.resampled(levels)
    return ax.pcolormesh(line, line, shade, cmap=cmap, vmin=0, vmax=1, shading="gouraud", rasterized=True)


def arrows(vectors: ArrayLike, half: float) -> NDArray[np.float64]:
    """Vectors on `mesh(half, n)`, `(n n, 2)`, no longer than the lattice's spacing, so that near and far both show."""
    v = np.asarray(vectors, dtype=np.float64)
    n = round(len(v) ** 0.5)
    size = np.linalg.norm(v, axis=1, keepdims=True)
    typical = np.median(size) + 1e-12
    return v / (size + typical) * 2 * half / n * 1.25


def quiver(ax: Axes, vectors: ArrayLike, half: float, *, color: str = INK) -> Any:
    """`arrows` on `mesh(half, n)`, drawn."""
    drawn = arrows(vectors, half)
    at = mesh(half, round(len(drawn) ** 0.5))
    return ax.quiver(
        *at.T, *drawn.T, color=color, alpha=0.45, angles="xy", scale_units="xy", scale=1, width=0.0042, headwidth=3.6
    )


def particles(ax: Axes, x: ArrayLike, *, color: str, size: float = 7, alpha: float = 0.8) -> Any:
    """Points `(N, 2)`."""
    return ax.scatter(*np.asarray(x).T, s=size, color=color, alpha=alpha, linewidths=0, zorder=3)


def trails(ax: Axes, paths: ArrayLike, *, color: str, width: float = 1.1, alpha: float = 0.8) -> LineCollection:
    """Paths `(T, N, 2)`, one line for each of N."""
    lines = LineCollection(
        list(np.asarray(paths).swapaxes(0, 1)), colors=color, linewidths=width, alpha=alpha, zorder=2
    )
    ax.add_collection(lines)
    return lines


def square(ax: Axes, half: float) -> None:
    """Equal axes over [-half, half]^2."""
    ax.set_xlim(-half, half)
    ax.set_ylim(-half, half)
    ax.set_aspect("equal")
