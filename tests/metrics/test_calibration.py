"""Calibration of Gaussian posteriors, right and wrong in known ways: x ~ N(0, 1), y = x + n, n ~ N(0, 1), so
x | y ~ N(y / 2, 1 / 2)."""

import math

import pytest
import torch
from scipy import stats

from scorefield import metrics

f64 = torch.float64
B, N, D = 2000, 39, 3


def normal(*shape, seed):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def problem(width=1.0, shift=0.0):
    """(truth, samples, y), the samples of std `width` times the right one and of a mean `shift` stds off."""
    truth = normal(B, D, seed=0)
    y = truth + normal(B, D, seed=1)
    samples = (y / 2)[:, None] + math.sqrt(0.5) * (shift + width * normal(B, N, D, seed=2))
    return truth, samples, y


def test_a_right_posterior_passes_everything():
    truth, samples, y = problem()
    assert metrics.sbc(truth, samples).p_value > 0.01
    assert metrics.tarp(truth, samples).p_value > 0.01
    assert metrics.tarp(truth, samples, y).p_value > 0.01
    result = metrics.coverage(truth, samples)
    assert bool(((result.rates - result.levels).abs() < 3.5 * result.stderr).all())


@pytest.mark.parametrize("width", [0.7, 1.4])
def test_coverage_of_a_posterior_of_another_width_is_the_known_one(width):
    """A central interval of level L of N(m, (w s)^2) holds N(m, s^2) with probability 2 Phi(w z_L) - 1; order
    statistics of 39 samples spread it by less than 0.01."""
    truth, samples, _ = problem(width)
    result = metrics.coverage(truth, samples, (0.5, 0.8, 0.9))
    expected = [2 * stats.norm.cdf(width * stats.norm.ppf((1 + level) / 2)) - 1 for level in (0.5, 0.8, 0.9)]
    assert result.rates.tolist() == pytest.approx(expected, abs=0.025)
    assert bool((result.stderr < 0.01).all())


def test_coverage_is_exact_for_any_number_of_samples():
    """Truth and samples exchangeable: rates are the levels, between order statistics and at them."""
    for n in (3, 10, 40):
        x = normal(20_000, n + 1, seed=n)
        levels = (0.25, (n - 1) / (n + 1))
        result = metrics.coverage(x[:, 0], x[:, 1:], levels)
        assert result.rates.tolist() == pytest.approx(levels, abs=4 * 0.5 / math.sqrt(20_000))


def test_coverage_errors_respect_that_entries_of_one_observation_agree():
    truth, samples, _ = problem()
    one, copies = (metrics.coverage(truth[:, :1].repeat(1, k), samples[..., :1].repeat(1, 1, k)) for k in (1, 50))
    assert torch.allclose(one.stderr, copies.stderr)


@pytest.mark.parametrize(("width", "shift"), [(0.8, 0.0), (1.25, 0.0), (1.0, 0.2)])
def test_wrong_posteriors_are_found(width, shift):
    truth, samples, y = problem(width, shift)
    assert metrics.sbc(truth, samples).p_value < 1e-4
    assert metrics.tarp(truth, samples, y + 1.0).p_value < 1e-4


def test_the_prior_passes_for_a_posterior_unless_references_know_the_measurement():
    """What is drawn from the prior is exchangeable with the truth too."""
    truth, _, y = problem()
    prior = normal(B, N, D, seed=5)
    assert metrics.sbc(truth, prior).p_value > 0.01
    assert metrics.tarp(truth, prior).p_value > 0.01
    assert metrics.tarp(truth, prior, y).p_value < 1e-10


def test_ranks_are_counts():
    truth = torch.tensor([[0.5], [10.0], [-1.0]])
    samples = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1).expand(3, 3, 1)
    result = metrics.sbc(truth, samples)
    assert result.ranks.flatten().tolist() == [1, 3, 0]
    assert [part.tolist() for part in result.ecdf()] == [pytest.approx([0, 1 / 3, 2 / 3, 1]), [1 / 3, 2 / 3, 2 / 3, 1]]


def test_ties_are_broken_at_random():
    """Ranks of a constant among its copies are uniform."""
    ranks = metrics.sbc(torch.zeros(8000, 1), torch.zeros(8000, 4, 1)).ranks
    counts = torch.bincount(ranks[:, 0], minlength=5)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_a_statistic_of_ones_own():
    truth, samples, _ = problem(width=0.8)
    result = metrics.sbc(truth, samples, lambda x: x.square().sum(-1))
    assert result.ranks.shape == (B, 1)
    assert result.p_value < 1e-4


def test_the_band_holds_uniform_ranks_as_often_as_it_says():
    u = torch.linspace(0, 1, 21, dtype=f64)
    band = metrics.uniform_band(200, u, level=0.9)
    draws = torch.rand(1000, 200, dtype=f64, generator=torch.Generator().manual_seed(9)).sort(1).values
    share = torch.searchsorted(draws, u.expand(1000, -1).contiguous(), right=True).double() / 200
    inside = ((share - u).abs() <= band).all(1).double().mean()
    assert float(inside) == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 1000 + 0.09 / 2000))
    assert float(band[0]) == float(band[-1]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.sbc(torch.zeros(3, 2), torch.zeros(3, 2)), r"samples must be \(B, n, \*event\) beside truth"),
        (lambda: metrics.sbc(torch.zeros(1, 2), torch.full((1, 4, 2), math.nan)), "must be finite"),
        (lambda: metrics.coverage(torch.zeros(2, 1), torch.zeros(2, 9, 1), [0.9]), r"0.8 for n = 9 samples; got 0.9"),
        (lambda: metrics.coverage(torch.zeros(2, 1), torch.zeros(2, 1, 1)), "take at least 3"),
        (
            lambda: metrics.tarp(torch.zeros(2, 1), torch.zeros(2, 3, 1), torch.zeros(1, 1)),
            r"references must have the shape of truth, \(2, 1\); got \(1, 1\)",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
