import math

import pytest
import torch

from scorefield.distributions import checkerboard, eight_gaussians, gaussian_grid, pinwheel, rings, spiral, two_moons

f64 = torch.float64
SHAPES = [checkerboard, eight_gaussians, gaussian_grid, pinwheel, rings, spiral, two_moons]


@pytest.mark.parametrize("shape", SHAPES)
def test_coordinates_are_of_order_one_and_the_moments_exact(shape):
    p = shape(dtype=f64)
    assert float(p.variance.mean()) == pytest.approx(1, abs=0.1)
    assert p.mean.abs().max() < 0.1
    x = p.sample(40_000, generator=torch.Generator().manual_seed(0))  # 5 sigma: < 1e-5 false alarms in all
    squares = (x - p.mean) ** 2
    assert ((x.mean(0) - p.mean).abs() < 5 * (p.variance / 40_000).sqrt()).all()
    assert ((squares.mean(0) - p.variance).abs() < 5 * squares.std(0) / 200).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_integrates_to_one(shape):
    p = shape(dtype=f64)
    n, half = 400, 2 * math.sqrt(3)
    axis = (torch.arange(n, dtype=f64) + 0.5) * (2 * half / n) - half
    mass = p.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (2 * half / n) ** 2
    assert float(mass) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_float32_unless_asked(shape):
    p = shape()
    assert p.sample(3).dtype == p.mean.dtype == torch.float32
    assert shape(dtype=f64).sample(3).dtype == f64


def test_eight_gaussians_stand_on_the_circle():
    p = eight_gaussians(radius=2.0, std=0.05, weights=torch.arange(1, 9) / 36, dtype=f64)
    torch.testing.assert_close(p.means.norm(dim=1), torch.full((8,), 2.0, dtype=f64))
    torch.testing.assert_close(p.means[2], torch.tensor([0.0, 2.0], dtype=f64), atol=1e-12, rtol=0)
    torch.testing.assert_close(p.covariances[3], 0.0025 * torch.eye(2, dtype=f64), rtol=1e-6, atol=0)
    torch.testing.assert_close(p.weights, torch.arange(1, 9, dtype=f64) / 36)


def test_the_grid_is_square_and_of_equal_weights():
    p = gaussian_grid(dtype=f64)
    assert p.means.shape == (25, 2)
    assert p.weights.tolist() == pytest.approx([1 / 25] * 25)
    assert float(p.means.var(0, correction=0).mean()) == pytest.approx(1)
    assert float(torch.pdist(p.means).min()) == pytest.approx(2**-0.5)
    with pytest.raises(ValueError, match="side must be at least 2"):
        gaussian_grid(side=1)


def test_the_density_is_level_along_a_ring():
    """Nodes 1.25 deviations apart leave a ripple of 2 exp(-2 (pi / 1.25)^2) = 7e-6."""
    p = rings(radii=(1.5,), std=0.1, dtype=f64)
    angle = torch.linspace(0, 2 * math.pi, 5000, dtype=f64)
    log_prob = p.log_prob(1.5 * torch.stack([angle.cos(), angle.sin()], 1))
    assert float(log_prob.max() - log_prob.min()) < 2e-5


def test_the_density_is_level_along_a_spiral():
    p = spiral(arms=1, std=0.05, dtype=f64)
    theta = torch.linspace(math.pi, 2.9 * math.pi, 3000, dtype=f64)
    radius = 2 * theta / (3 * math.pi)
    log_prob = p.log_prob(radius[:, None] * torch.stack([theta.cos(), theta.sin()], 1))
    assert float(log_prob.max() - log_prob.min()) < 0.05  # what curvature adds; the node spacing adds 1e-5


def test_rings_have_the_mass_they_are_given():
    p = rings(radii=(0.5, 2.0), weights=[3.0, 1.0], dtype=f64)
    inner = p.means.norm(dim=1) < 1
    assert float(p.weights[inner].sum()) == pytest.approx(0.75)
    assert float(rings(radii=(0.5, 2.0), dtype=f64).weights[inner].sum()) == pytest.approx(0.2)


@pytest.mark.parametrize("arms", [3, 5])
def test_a_pinwheel_turned_by_one_arm_is_itself(arms):
    p = pinwheel(arms=arms, dtype=f64)
    x = torch.randn(50, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    c, s = math.cos(2 * math.pi / arms), math.sin(2 * math.pi / arms)
    turned = x @ torch.tensor([[c, s], [-s, c]], dtype=f64)
    torch.testing.assert_close(p.log_prob(turned), p.log_prob(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: eight_gaussians(std=0.0), "std must be positive; got 0"),
        (lambda: rings(radii=(1.0, -1.0)), r"radii\[1\] must be positive; got -1"),
        (lambda: eight_gaussians(weights=[1.0]), r"weights must have shape \(8,\); got \(1,\)"),
    ],
)
def test_errors_name_the_argument_and_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()
