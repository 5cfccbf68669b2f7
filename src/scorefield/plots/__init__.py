"""Pictures: image grids, filmstrips, score fields, particles, curves and animations.

Figures are matplotlib `Figure` objects made here: nothing goes through pyplot, so nothing is global and no display is
needed. Arrays may be NumPy or CPU tensors. `save` writes the same bytes for the same figure.
"""

from scorefield.plots.animation import LEVELS as GIF_LEVELS
from scorefield.plots.animation import save_gif
from scorefield.plots.calibration import calibration
from scorefield.plots.curves import bars, curves, curves_colors, error_by_level, loss_by_level, loss_curve
from scorefield.plots.fields import arrows, density, limits, mesh, particles, quiver, shades, square, trails
from scorefield.plots.images import filmstrip, image_grid, neighbours, to_pixels
from scorefield.plots.style import COLORS, DENSITY, clean, figure, png_bytes, save
from scorefield.plots.tables import of_table

__all__ = [
    "COLORS",
    "DENSITY",
    "GIF_LEVELS",
    "arrows",
    "bars",
    "calibration",
    "clean",
    "curves",
    "curves_colors",
    "density",
    "error_by_level",
    "figure",
    "filmstrip",
    "image_grid",
    "limits",
    "loss_by_level",
    "loss_curve",
    "mesh",
    "neighbours",
    "of_table",
    "particles",
    "png_bytes",
    "quiver",
    "save",
    "save_gif",
    "shades",
    "square",
    "to_pixels",
    "trails",
]
