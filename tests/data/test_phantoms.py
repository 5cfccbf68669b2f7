import math

import numpy as np
import pytest
import torch

from scorefield.data import phantoms
from scorefield.data.phantoms import Ellipse


def test_a_phantom_is_a_function_of_the_seed_and_its_number():
    whole = phantoms.ellipses(6, 32, seed=3)
    assert torch.equal(whole[4:], phantoms.ellipses(2, 32, seed=3, start=4))
    assert not torch.equal(whole, phantoms.ellipses(6, 32, seed=4))
    assert whole.dtype == torch.float32
    assert whole.shape == (6, 1, 32, 32)
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1


def test_the_same_phantom_at_half_the_size_is_the_mean_of_its_pixels():
    # what is averaged is exact along x and by chords along y, of which the coarse one has half as many: an edge's worth
    fine, coarse = phantoms.ellipses(4, 128), phantoms.ellipses(4, 64)
    error = torch.nn.functional.avg_pool2d(fine, 2) - coarse
    assert float(error.abs().mean()) < 2e-3  # painting and averaging exchange only where no two edges meet
    assert float(error.abs().median()) < 1e-6


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_an_ellipse_covers_its_area(angle):
    ellipse = Ellipse(1.0, 0.5, 0.2, 0.1, -0.3, angle)
    _, _, covered = phantoms.coverage(ellipse, 64)
    area = covered.sum() * (2 / 64) ** 2
    assert area == pytest.approx(math.pi * 0.5 * 0.2, rel=2e-3)  # 8 chords a pixel; measured 4e-4
    assert covered.max() == pytest.approx(1)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_coverage_is_that_of_a_fine_grid_of_points(angle):
    ellipse = Ellipse(1.0, 0.5, 0.2, 0.1, -0.3, angle)
    rows, columns, covered = phantoms.coverage(ellipse, 16)
    image = np.zeros((16, 16))
    image[rows, columns] = covered
    n = 16 * 32
    x = -1 + (np.arange(n) + 0.5) * 2 / n
    u, v = x[None] - 0.1, -x[:, None] + 0.3
    c, s = math.cos(angle), math.sin(angle)
    points = ((u * c + v * s) / 0.5) ** 2 + ((v * c - u * s) / 0.2) ** 2 <= 1
    assert (
        np.abs(image - points.reshape(16, 32, 16, 32).mean((1, 3))).max() < 0.04
    )  # a tangent row: half a chord of 8, and a point of 32


def test_shepp_logan_has_the_values_of_its_tissues():
    image = phantoms.shepp_logan(256)[0, 0]
    assert float(image[128, 128]) == pytest.approx(0.2, abs=1e-6)  # between the ventricles
    assert float(image[128, 128 + 28]) == pytest.approx(0.0, abs=1e-6)  # in the right one
    assert float(image[128 - 45, 128]) == pytest.approx(0.3, abs=1e-6)  # the large one is above the centre
    assert float(image[12, 128]) == pytest.approx(1.0, abs=1e-6)  # skull
    assert float(image[0, 0]) == 0.0
    mass = float(image.sum()) * (2 / 256) ** 2
    assert mass == pytest.approx(sum(math.pi * e.a * e.b * e.value for e in phantoms.SHEPP_LOGAN), rel=1e-3)


def test_line_integrals_add_up_to_the_mass_at_every_angle():
    angles = torch.linspace(0, math.pi, 7, dtype=torch.float64)
    offsets = torch.linspace(-1, 1, 20001, dtype=torch.float64)
    mass = phantoms.line_integrals(phantoms.SHEPP_LOGAN, angles, offsets).sum(1) * 1e-4
    expected = sum(math.pi * e.a * e.b * e.value for e in phantoms.SHEPP_LOGAN)
    assert torch.allclose(mass, torch.full((7,), expected, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n": -1}, "n must be at least 0; got -1"), ({"n": 1, "size": 0}, "size must be at least 1; got 0")],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        phantoms.ellipses(**arguments)
