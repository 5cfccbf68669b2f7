import itertools
import math

import pytest
import torch

from rounding import product, same
from scorefield.data import phantoms
from scorefield.inverse.operators import Radon, transmission_noise

f64 = torch.float64


def normal(*shape, seed=0, dtype=f64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_axis_aligned_angles_are_column_and_row_sums():
    x = normal(2, 1, 6, 9)
    y = Radon((1, 6, 9), [0.0, math.pi / 2, math.pi, -math.pi / 2], detectors=9)(x)
    assert torch.allclose(y[:, :, 0], x.sum(2), atol=1e-14)
    assert torch.allclose(y[:, :, 2], x.sum(2).flip(-1), atol=1e-14)
    # 6 rows in 9 bins: each straddles two, half and half
    rows = torch.nn.functional.pad(x.sum(3).flip(-1), (2, 2))
    assert torch.allclose(y[:, :, 1], (rows[..., 1:] + rows[..., :-1]) / 2, atol=1e-14)
    assert torch.allclose(y[:, :, 3], y[:, :, 1].flip(-1), atol=1e-14)


def test_45_degrees_is_the_triangle_of_a_pixel_on_its_corner():
    y = Radon((1, 1), [math.pi / 4], detectors=200, spacing=0.01)(torch.ones(1, 1, 1, dtype=f64))[0, 0]
    s = (torch.arange(200, dtype=f64) - 99.5) * 0.01
    chord = (math.sqrt(2) - 2 * s.abs()).clamp(min=0)
    assert float((y - chord).abs().max()) < 0.01  # a bin's mean against its middle, at the corners
    assert float((y - chord).abs().median()) < 1e-12


@pytest.mark.parametrize("spacing", [0.3, 1.0, 1.7])
def test_detector_sums_are_the_mass_at_every_angle(spacing):
    x = normal(1, 7, 10)
    y = Radon((7, 10), torch.linspace(-4, 4, 23), spacing=spacing)(x)
    assert torch.allclose(y.sum(-1) * spacing, x.sum().expand(1, 23), atol=1e-12)


def test_a_disk_projects_to_its_chords_at_second_order_in_the_pixel():
    errors = []
    for size in (16, 32, 64):
        disk = phantoms.Ellipse(1.0, 0.6, 0.6, 0.0, 0.0)
        image = torch.zeros(size, size, dtype=f64)
        rows, columns, covered = phantoms.coverage(disk, size)
        image[rows, columns] = torch.from_numpy(covered)
        n = 16  # as many bins at every size: means over a bin, of which only the pixels get finer
        theta = torch.tensor([0.0, 0.3, 1.0, 2.2], dtype=f64)
        y = Radon((size, size), theta, detectors=n, spacing=size / n)(image[None])[0] * 2 / size
        fine = torch.linspace(-1, 1, 16 * 256 + 1, dtype=f64)
        middle = (fine[1:] + fine[:-1]) / 2
        exact = 2 * (0.36 - middle**2).clamp(min=0).sqrt().unflatten(0, (n, 256)).mean(1)
        errors.append(float((y - exact).square().mean().sqrt()))
    assert errors[-1] < 1e-3
    assert all(math.log2(a / b) > 1.3 for a, b in itertools.pairwise(errors))  # edges: between first and second


def test_shepp_logans_sinogram_tends_to_the_closed_form_of_its_ellipses():
    errors = []
    for size in (64, 128, 256):
        operator = Radon((1, size, size), 12, detectors=64, spacing=size / 64)
        y = operator(phantoms.shepp_logan(size).double())[0, 0] * 2 / size
        fine = torch.linspace(-1, 1, 64 * 64 + 1, dtype=f64)
        exact = phantoms.line_integrals(phantoms.SHEPP_LOGAN, operator.angles, (fine[1:] + fine[:-1]) / 2)
        error = y - exact.unflatten(1, (64, 64)).mean(2)
        errors.append(float(error.square().mean().sqrt() / exact.square().mean().sqrt()))
    assert errors[-1] < 4e-3
    assert all(math.log2(a / b) > 1 for a, b in itertools.pairwise(errors))


@pytest.mark.parametrize("dtype", [torch.float32, f64])
@pytest.mark.parametrize("spacing", [0.7, 1.0, 2.3])
def test_the_two_ways_to_compute_it_agree(spacing, dtype):
    angles = [0.0, 0.1, math.pi / 4, 1.5, 3.0]
    kept = Radon((2, 9, 12), angles, detectors=11, spacing=spacing, matrix=True)
    made = Radon((2, 9, 12), angles, detectors=11, spacing=spacing, matrix=False)
    x, y = normal(3, 2, 9, 12, dtype=dtype), normal(3, 2, 5, 11, dtype=dtype)
    tolerance = 1e-13 if dtype == f64 else 1e-5
    assert torch.allclose(kept(x), made(x), atol=tolerance)
    assert torch.allclose(kept.adjoint(y), made.adjoint(y), atol=tolerance)
    for operator in (kept, made):
        assert torch.allclose(
            operator.adjoint(y).double().flatten(1), y.double().flatten(1) @ operator.dense(), atol=tolerance
        )


@pytest.mark.rounding
def test_a_row_is_the_same_in_any_batch():
    operator = Radon((16, 16), 7)
    x, y = normal(9, 16, 16, dtype=torch.float32), normal(9, *operator.output_shape, dtype=torch.float32)
    a = operator.dense().float()
    forward = product(a, x.flatten(1)).reshape(9, *operator.output_shape)
    adjoint = product(a.T, y.flatten(1)).reshape(9, 16, 16)
    for n in (1, 2, 4, 5):
        same(operator(x[:n]), operator(x)[:n], forward[:n])
        same(operator.adjoint(y[:n]), operator.adjoint(y)[:n], adjoint[:n])


@pytest.mark.parametrize("window", ["ramp", "hann"])
def test_filtered_back_projection_of_a_disk_is_the_disk(window):
    size = 64
    disk = torch.zeros(1, size, size, dtype=f64)
    rows, columns, covered = phantoms.coverage(phantoms.Ellipse(2.0, 0.6, 0.6, 0.1, -0.2), size)
    disk[0, rows, columns] = 2 * torch.from_numpy(covered)
    operator = Radon((size, size), 200)
    x = operator.fbp(operator(disk), window)
    inside = disk == 2
    assert float(x.sum()) == pytest.approx(float(disk.sum()), rel=1e-3)
    assert float((x - disk)[inside].abs().median()) < 0.006  # measured 0.003: rays of a pixel's width
    assert float((x - disk).square().mean().sqrt()) < 0.15  # the edge


def test_filtered_back_projection_weighs_uneven_angles_by_their_share():
    size = 48
    disk = torch.zeros(1, size, size, dtype=f64)
    rows, columns, covered = phantoms.coverage(phantoms.Ellipse(1.0, 0.6, 0.6, 0.0, 0.0), size)
    disk[0, rows, columns] = torch.from_numpy(covered)
    coarse, fine = torch.arange(0, 90, 3.0), torch.arange(90, 180, 1.5)
    operator = Radon((size, size), torch.deg2rad(torch.cat([fine, coarse]).double()))
    assert float(operator.fbp(operator(disk))[disk == 1].mean()) == pytest.approx(1, rel=0.01)
    half = Radon((size, size), torch.deg2rad(coarse.double()))
    assert float(half.fbp(half(disk))[disk == 1].mean()) == pytest.approx(0.5, rel=0.05)  # a wedge is missing


def test_transmission_noise_is_that_of_the_logarithm_of_poisson_counts():
    p = torch.tensor([0.0, 1.0, 2.0], dtype=f64)
    rate = (1e3 * torch.exp(-p)).expand(200_000, 3)
    y = -torch.log(torch.poisson(rate, generator=torch.Generator().manual_seed(0)) / 1e3)
    # 1 / (2 * 135) of second-order terms where counts are least, and a standard error of 1 / sqrt(2 * 200,000)
    assert torch.allclose(y.std(0), transmission_noise(1e3, p).double(), rtol=1 / 135 + 4 / math.sqrt(4e5))
    assert float(transmission_noise(100)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_shape": (5,)}, r"event_shape must be \(..., H, W\); got \(5,\)"),
        ({"event_shape": (5, 5), "angles": 0}, "angles must be a positive count"),
        ({"event_shape": (5, 5), "angles": [math.nan]}, "angles must be a positive count"),
        ({"event_shape": (5, 5), "spacing": 0.0}, "spacing must be positive; got 0"),
        ({"event_shape": (5, 5), "detectors": 0}, "detectors must be at least 1; got 0"),
    ],
)
def test_impossible_geometry_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Radon(**arguments)


def test_what_cannot_be_filtered_or_counted_is_refused():
    operator = Radon((5, 5), 3)
    with pytest.raises(ValueError, match="window must be 'ramp' or 'hann'"):
        operator.fbp(torch.zeros(1, *operator.output_shape), "shepp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counts must be positive"):
        transmission_noise(0)
