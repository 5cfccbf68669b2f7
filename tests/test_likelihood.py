"""The probability-flow likelihood against closed-form densities."""

import math

import pytest
import torch

import scorefield as sf

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(0.003, 50.0, from_zero=False), sf.EDM(), sf.Rectified(), sf.Discrete.linear()]


@pytest.fixture(scope="module")
def mixture() -> sf.GaussianMixture:
    return sf.GaussianMixture(
        torch.tensor([0.7, 0.3], dtype=f64),
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=f64),
        torch.tensor([[0.09, 0.04], [0.04, 0.16]], dtype=f64),
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_exact_trace_gives_the_density(mixture, schedule):
    """Within 1e-3 nats per dimension of the closed form: steps and both ends included."""
    exact, x = sf.ExactDenoiser(mixture, schedule), mixture.sample(64, generator=torch.Generator().manual_seed(0))
    result = sf.log_prob(exact, x, steps=60)
    assert float((result.log_prob - mixture.log_prob(x)).abs().max()) < 2e-3
    assert bool((result.stderr == 0).all())
    assert result.nfe == 240


def test_a_correlated_gaussian_in_eight_dimensions():
    factor = torch.randn(8, 8, dtype=f64, generator=torch.Generator().manual_seed(1))
    data = sf.Gaussian(torch.ones(8, dtype=f64), 0.1 * factor @ factor.mT + 0.1 * torch.eye(8, dtype=f64))
    x = data.sample(16, generator=torch.Generator().manual_seed(0))
    result = sf.log_prob(sf.ExactDenoiser(data, sf.VP()), x, steps=40)
    assert float((result.log_prob - data.log_prob(x)).abs().max()) < 8e-3


def test_hutchinson_is_unbiased_and_its_stderr_covers():
    """(estimate - exact) / stderr over 200 points with 64 probes: mean 0 and std 1 within 4.5 standard errors."""
    factor = torch.randn(6, 6, dtype=f64, generator=torch.Generator().manual_seed(1))
    data = sf.Gaussian(torch.zeros(6, dtype=f64), 0.1 * factor @ factor.mT + 0.1 * torch.eye(6, dtype=f64))
    exact, n = sf.ExactDenoiser(data, sf.VP()), 200
    x = data.sample(n, generator=torch.Generator().manual_seed(0))
    truth = sf.log_prob(exact, x, steps=20).log_prob
    estimate = sf.log_prob(exact, x, steps=20, probes=64, seed=3)
    z = (estimate.log_prob - truth) / estimate.stderr
    assert abs(float(z.mean())) < 4.5 / math.sqrt(n)
    assert abs(float(z.std()) - 1) < 4.5 / math.sqrt(2 * n) + 0.05  # 64 probes: Student's t, not a normal


def test_one_probe_does_not_pretend_to_know_its_error(mixture):
    exact, x = sf.ExactDenoiser(mixture, sf.VP()), torch.zeros(3, 2, dtype=f64)
    assert bool(sf.log_prob(exact, x, probes=1).stderr.isnan().all())


def test_a_samples_likelihood_does_not_depend_on_the_batch(mixture):
    exact, x = sf.ExactDenoiser(mixture, sf.VP()), mixture.sample(32, generator=torch.Generator().manual_seed(0))
    whole = sf.log_prob(exact, x).log_prob
    assert torch.equal(sf.log_prob(exact, x[:1]).log_prob, whole[:1])


def test_latents_of_data_are_standard_normal(mixture):
    """x_1 / std of a sample is N(0, I): mean and variance of 2,000, 4.5 standard errors."""
    n, schedule = 2000, sf.VP()
    x = mixture.sample(n, generator=torch.Generator().manual_seed(0))
    latent = sf.log_prob(sf.ExactDenoiser(mixture, schedule), x, s_max=1e3).latent
    assert float(latent.mean(0).abs().max()) < 4.5 / math.sqrt(n) + 0.01
    assert float((latent.var(0) - 1).abs().max()) < 4.5 * math.sqrt(2 / n)


def test_bad_input_gets_one_clear_line(mixture):
    exact = sf.ExactDenoiser(mixture, sf.VP())
    with pytest.raises(ValueError, match="x must be finite"):
        sf.log_prob(exact, torch.full((1, 2), math.nan, dtype=f64))
    with pytest.raises(ValueError, match="probes must be at least 1, or None"):
        sf.log_prob(exact, torch.zeros(1, 2, dtype=f64), probes=0)
