"""What figures are asked. Artists are untyped here: matplotlib's stubs promise less than its artists hold."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure


def axes(fig: Figure | None) -> list[Any]:
    """The figure's axes; there must be a figure."""
    assert fig is not None
    return list(fig.axes)


def labels(ax: Any) -> tuple[str, str, str]:
    """(x, y, title)."""
    return ax.get_xlabel(), ax.get_ylabel(), ax.get_title()


def legend(ax: Any) -> list[str]:
    drawn = ax.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


def ticks(axis: Any) -> dict[float, str]:
    """Where ticks stand, and what they say."""
    return {
        float(place): text.get_text() for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    }


def lines(ax: Any) -> np.ndarray:
    """`(lines, points, 2)`."""
    return np.stack([line.get_xydata() for line in ax.lines])


def picture(ax: Any) -> np.ndarray:
    """The one image of these axes."""
    (shown,) = ax.images
    return np.asarray(shown.get_array())


def cut(big: np.ndarray, columns: int, h: int, w: int) -> list[np.ndarray]:
    """The pictures of a grid, row by row, with one pixel between them."""
    rows = (big.shape[0] + 1) // (h + 1)
    return [
        big[r * (h + 1) : r * (h + 1) + h, c * (w + 1) : c * (w + 1) + w] for r in range(rows) for c in range(columns)
    ]
