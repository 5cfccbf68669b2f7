import pytest
import torch

from scorefield import metrics

f64 = torch.float64


def test_diagonal_gaussians_are_at_the_distance_of_means_and_standard_deviations():
    mean1, mean2 = torch.tensor([0.0, 1.0], dtype=f64), torch.tensor([2.0, -1.0], dtype=f64)
    sd1, sd2 = torch.tensor([1.0, 0.0], dtype=f64), torch.tensor([0.5, 3.0], dtype=f64)
    distance = metrics.frechet_gaussian(mean1, sd1.square().diag(), mean2, sd2.square().diag())
    assert distance == pytest.approx(4 + 4 + 0.25 + 9, rel=1e-10)


def test_an_affine_copy_is_at_its_optimal_transport_cost():
    """y = A x, A symmetric positive definite, is the optimal map: tr (A - I) C (A - I) of the sample."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, dtype=f64, generator=generator)
    factor = torch.randn(4, 4, dtype=f64, generator=generator)
    a, shift = factor @ factor.T / 4 + 0.1 * torch.eye(4, dtype=f64), torch.arange(4.0, dtype=f64)
    y = x @ a + shift
    gap = a - torch.eye(4, dtype=f64)
    expected = float((gap @ torch.cov(x.T) @ gap).trace() + (y.mean(0) - x.mean(0)).square().sum())
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_events_are_flattened_and_few_samples_refused():
    x = torch.randn(9, 1, 2, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    assert metrics.frechet_distance(x, x + 1) == pytest.approx(4, rel=1e-9)
    one = torch.randn(9, 1, dtype=f64)
    assert metrics.frechet_distance(one, one + 2) == pytest.approx(4, rel=1e-9)
    with pytest.raises(ValueError, match="at least 2 samples each; got 1 and 9"):
        metrics.frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match="same event size; got 4 and 1"):
        metrics.frechet_distance(x, one)
