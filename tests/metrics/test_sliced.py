"""Sliced Wasserstein distances against Gaussians' closed forms."""

import math

import pytest
import torch

from scorefield import metrics

f64 = torch.float64


def normal(n, d, seed):
    return torch.randn(n, d, dtype=f64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("order", [1, 2])
def test_a_shifted_copy_is_at_the_mean_of_the_projected_shifts(order):
    """x + m is |theta . m| away in every direction: E|theta . m|^2 = |m|^2 / d, and the first moment."""
    d, m = 8, torch.linspace(-1, 2, 8, dtype=f64)
    x = normal(50, d, 0)
    distance = metrics.sliced_wasserstein(x, x + m, projections=4096, order=order)
    first = math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))  # E|theta_1|
    expected = float(m.norm()) * (first if order == 1 else d**-0.5)
    assert distance == pytest.approx(expected, rel=5 * 1.2 / 64)  # 4,096 directions, relative sd of |theta . m|^2 1.2


@pytest.mark.parametrize("order", [1, 2, 3])
def test_on_a_line_it_is_wasserstein_by_hand(order):
    """Every direction is 1 or -1. {0, 1} to {2, 5}: moves of 2 and 4; {0} to {2, 5}: of 2 and 5, half each."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [2.0]])
    root = 1 / order
    assert metrics.sliced_wasserstein(x, y, order=order) == pytest.approx(((2**order + 4**order) / 2) ** root)
    assert metrics.sliced_wasserstein(x[:1], y, order=order) == pytest.approx(((2**order + 5**order) / 2) ** root)


def test_gaussians_of_two_widths():
    """W_2(N(0, a^2), N(0, b^2)) = |a - b| in every direction; 20,000 samples leave about a hundredth."""
    x, y = normal(20_000, 5, 0), 1.5 * normal(20_000, 5, 1)
    assert metrics.sliced_wasserstein(x, y, projections=16) == pytest.approx(0.5, abs=0.02)


def test_unequal_sizes_are_coupled_exactly():
    """Repeating every sample changes nothing: 6 of x against 4 of y is 12 against 12."""
    x, y = normal(6, 3, 0), normal(4, 3, 1)
    for order in (1, 2):
        whole = metrics.sliced_wasserstein(x.repeat(2, 1), y.repeat(3, 1), order=order)
        assert metrics.sliced_wasserstein(x, y, order=order) == pytest.approx(whole, rel=1e-12)
        assert metrics.sliced_wasserstein(y, x, order=order) == pytest.approx(whole, rel=1e-12)
        assert metrics.sliced_wasserstein(x, x.repeat(3, 1), order=order) == pytest.approx(0, abs=1e-12)


def test_the_floor_is_the_distance_between_exact_sets():
    """It shrinks about as n^-1/2, and is what two fresh samples of the same law score."""
    exact = normal(4000, 3, 0)
    small, large = (metrics.sliced_wasserstein_floor(exact, (n, n), projections=64) for n in (100, 1600))
    assert small.mean / large.mean == pytest.approx(4, rel=0.3)
    whole = metrics.sliced_wasserstein_floor(exact, projections=64)
    fresh = metrics.sliced_wasserstein(normal(2000, 3, 1), normal(2000, 3, 2), projections=64)
    assert abs(whole.mean - fresh) < 6 * whole.std
    assert whole == metrics.sliced_wasserstein_floor(exact, (2000, 2000), projections=64)


def test_bad_sets_are_refused():
    x = normal(4, 2, 0)
    with pytest.raises(ValueError, match="same event size; got 2 and 3"):
        metrics.sliced_wasserstein(x, normal(4, 3, 0))
    with pytest.raises(ValueError, match="y must hold at least one finite sample"):
        metrics.sliced_wasserstein(x, x * math.nan)
    with pytest.raises(ValueError, match="sum to at most 4; got 3 and 2"):
        metrics.sliced_wasserstein_floor(x, (3, 2))
