"""Against exact laws: KL and total variation of Gaussians, and the bounds that a known score error gives."""

import math
from typing import Any

import pytest
import torch
from scipy import stats

import intervals
import scorefield as sf
from intervals import Case, normals
from scorefield import metrics

f64 = torch.float64


def standard(d):
    return sf.Gaussian(torch.zeros(d, dtype=f64), torch.eye(d, dtype=f64))


@pytest.mark.parametrize("d", [1, 2])
def test_kl_of_shifted_gaussians_and_the_interval_that_holds_it(d):
    """KL = d m^2 / 2; 100 intervals at 90%: three standard errors are 0.09."""
    case = Case("", lambda s: metrics.to_density(normals(s, d, 200, 0.6), standard(d), tests=12).kl, d * 0.18)
    assert 0.81 <= intervals.coverage(case, 100)["coverage"] <= 0.99


def test_exact_samples_have_no_kl_and_shifted_ones_the_total_variation_of_theirs():
    """TV = 2 Phi(m / 2) - 1 in one dimension; cells of about 1/30 see nearly all of it."""
    exact = metrics.to_density(normals(0, 1, 900), standard(1))
    assert exact.kl.p_value > 0.05
    assert abs(exact.kl.floor) < 0.02
    assert exact.total_variation.p_value > 0.05
    shifted = metrics.to_density(normals(0, 1, 900, 0.8), standard(1))
    true = 2 * stats.norm.cdf(0.4) - 1
    low, high = shifted.total_variation.interval()
    assert low - 0.02 < true < high + 0.02
    assert shifted.total_variation.extrapolated < shifted.pinsker == pytest.approx(0.4, abs=0.08)
    assert shifted.kl.p_value == 1 / 40


@pytest.mark.parametrize("schedule", [sf.VP(), sf.Rectified(), sf.VE(sigma_min=0.01, sigma_max=50.0)], ids=str)
def test_girsanovs_bound_is_attained_by_a_shift(schedule):
    """The model of N(m, I) in the place of N(0, I): 1/2 int |D - D*|^2 dSNR = |m|^2 / 2 = KL, less what is left out.

    D - D* = m / (1 + SNR) has no randomness but the strata's: 64 of them are exact to a percent.
    """
    m = torch.tensor([0.5, -0.3], dtype=f64)
    model = sf.ExactDenoiser(sf.Gaussian(m, torch.eye(2, dtype=f64)), schedule)
    found = metrics.girsanov(model, standard(2), n=2048)
    assert found.kl.value == pytest.approx(0.17, rel=0.03)
    assert found.total_variation == pytest.approx(math.sqrt(found.kl.value / 2))
    exact = metrics.girsanov(sf.ExactDenoiser(standard(2), schedule), standard(2), n=256)
    assert exact.kl.value == pytest.approx(0, abs=2e-3)


def test_fishers_divergence_is_not_symmetric():
    """N(0, 1) against N(0, 4): E x^2 (1 - 1/4)^2 is 9/16 under the first and 9/4 under the second."""
    x = normals(0, 1, 20000)
    one, two = (lambda x: -x), (lambda x: -x / 4)
    forward, backward = metrics.fisher(one, two, x), metrics.fisher(two, one, 2 * x)
    for found, exact in ((forward, 9 / 16), (backward, 9 / 4)):
        low, high = found.interval(0.999)
        assert low < exact < high
    assert (forward.floor, forward.interval()[0] >= 0) == (0, True)


def test_a_paired_gap_is_narrower_than_two_means():
    """log p - log q of N(0, 1) and N(m, 1) is m^2 / 2 in the mean, with a standard deviation of m."""
    x = normals(1, 1, 500)[:, 0]
    log_p, log_q = (torch.from_numpy(stats.norm.logpdf(x.numpy(), m)) for m in (0.0, 0.2))
    found = metrics.likelihood_gap(log_p, log_q)
    low, high = found.interval(0.95)
    assert low < 0.02 < high
    assert (high - low) / 2 == pytest.approx(1.96 * 0.2 / math.sqrt(500), rel=0.1)
    assert found.p_value == pytest.approx(stats.ttest_rel(log_p.numpy(), log_q.numpy()).pvalue)


def test_a_held_out_likelihood_beside_that_of_what_was_learned_by_heart():
    """-E log p of N(0, 1) under itself is its entropy; a shift of the held-out data is found by Welch's test."""
    log_p = lambda seed, shift, n: stats.norm.logpdf(normals(seed, 1, n, shift)[:, 0].numpy())  # noqa: E731
    held, trained = (torch.from_numpy(log_p(seed, 0.0, n)) for seed, n in ((1, 400), (2, 300)))
    found = metrics.held_out_likelihood(held, trained)
    low, high = found.interval(0.95)
    assert low < -0.5 * math.log(2 * math.pi * math.e) < high
    assert (found.n, found.floor) == ((400, 300), float(trained.mean()))
    welch: Any = stats.ttest_ind(held, trained, equal_var=False)
    assert found.p_value == pytest.approx(welch.pvalue / 2 if welch.statistic < 0 else 1 - welch.pvalue / 2)
    assert metrics.held_out_likelihood(torch.from_numpy(log_p(3, 1.0, 400)), trained).p_value < 1e-6
    alone = metrics.held_out_likelihood(held, off=0.3)
    assert math.isnan(alone.p_value)
    assert alone.interval()[1] - alone.value == pytest.approx(1.648 * math.hypot(0.3, float(held.std()) / 20), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: metrics.to_density(torch.zeros(4, 1), standard(1)), "x at least 12"),
        (lambda: metrics.to_density(torch.zeros(40, 1), standard(1)), "it has no density"),
        (lambda: metrics.likelihood_gap(torch.zeros(3), torch.zeros(4)), r"must be \(N,\)"),
        (lambda: metrics.likelihood_gap(torch.zeros(3), torch.zeros(3) / 0), "3 are not"),
        (lambda: metrics.held_out_likelihood(torch.zeros(3), torch.zeros(1)), r"trained must be \(N,\)"),
        (lambda: metrics.fisher(lambda x: x[:1], lambda x: x, torch.zeros(3, 1)), "must be of one shape"),
        (lambda: metrics.girsanov(sf.ExactDenoiser(standard(1), sf.VP()), standard(1), n=64), "at least 2 for each"),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call()
