"""What is drawn in the plane: densities, arrows, points and paths stand where the data do, in the data's units."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

import scorefield as sf
from scorefield import plots

HALF, N = 2.5, 5
LINE = np.linspace(-HALF, HALF, N)


@pytest.fixture
def ax() -> Any:
    return plots.figure(3, 3).add_subplot()


def test_limits_hold_the_farthest_coordinate_with_a_margin():
    points = torch.tensor([[0.5, -2.0], [1.0, 0.0]])
    assert plots.limits(points) == pytest.approx(2.3)
    assert plots.limits(points, margin=1.0) == 2


def test_the_mesh_is_the_lattice_with_x_fastest():
    mesh = plots.mesh(HALF, N)
    assert mesh.shape == (25, 2)
    np.testing.assert_allclose(mesh[:N], np.stack([LINE, np.full(N, -HALF)], 1))
    np.testing.assert_allclose(mesh[::N], np.stack([np.full(N, -HALF), LINE], 1))


def test_shades_are_powers_of_shares_of_the_largest_value():
    values = np.arange(9.0)
    np.testing.assert_allclose(plots.shades(values), np.sqrt(values / 8).reshape(3, 3))
    np.testing.assert_allclose(plots.shades(values, power=1.0), values.reshape(3, 3) / 8)


def test_a_density_stands_over_its_own_mesh(ax):
    """The brightest place of a narrow Gaussian is its mean, read off the artist's coordinates and shades."""
    law = sf.Gaussian(torch.tensor([1.25, -2.5]), torch.tensor([0.1, 0.1]))
    shade = plots.shades(law.log_prob(torch.from_numpy(plots.mesh(HALF, N)).float()).exp())
    drawn: Any = plots.density(ax, shade, HALF, levels=7)
    places, values = drawn.get_coordinates(), drawn.get_array()
    np.testing.assert_allclose(places[..., 0], np.tile(LINE, (N, 1)))
    np.testing.assert_allclose(places[..., 1], np.tile(LINE[:, None], (1, N)))
    np.testing.assert_allclose(values.reshape(N, N), shade)
    np.testing.assert_allclose(places.reshape(-1, 2)[values.argmax()], [1.25, -2.5])
    assert (drawn.get_clim(), drawn.get_cmap().N) == ((0, 1), 7)


def test_arrows_keep_their_directions_and_stay_within_the_lattice(ax):
    vectors = np.random.default_rng(0).normal(size=(N * N, 2)) * np.geomspace(1e-3, 1e3, N * N)[:, None]
    arrows = plots.arrows(vectors, HALF)
    length, true = (np.linalg.norm(v, axis=1, keepdims=True) for v in (arrows, vectors))
    np.testing.assert_allclose(arrows / length, vectors / true, atol=1e-9)
    cell = 2 * HALF / N
    assert length.max() < 1.25 * cell
    assert np.median(length) == pytest.approx(0.625 * cell)  # the typical one is half the longest there can be
    drawn = plots.quiver(ax, vectors, HALF)
    np.testing.assert_allclose(drawn.get_offsets(), plots.mesh(HALF, N))
    np.testing.assert_allclose(np.stack([drawn.U, drawn.V], 1), arrows)
    assert (drawn.angles, drawn.scale_units, drawn.scale) == ("xy", "xy", 1)  # lengths in units of the data


def test_no_arrow_where_there_is_no_vector():
    assert not plots.arrows(np.zeros((9, 2)), 1.0).any()


def test_particles_and_trails_are_where_they_were(ax):
    paths = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    points = plots.particles(ax, paths[-1], color=plots.COLORS["data"], size=5, alpha=0.5)
    np.testing.assert_allclose(points.get_offsets(), paths[-1])
    np.testing.assert_allclose(points.get_facecolor(), [to_rgba(plots.COLORS["data"], 0.5)])
    assert points.get_sizes().tolist() == [5]
    trails = plots.trails(ax, paths, color="black")
    np.testing.assert_allclose(np.stack(trails.get_segments()), paths.transpose(0, 1))
    assert trails in ax.collections


def test_the_square_is_a_square(ax):
    plots.square(ax, HALF)
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-HALF, HALF), (-HALF, HALF), 1)
