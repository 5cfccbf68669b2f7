"""The variational bounds against entropies known in closed form."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import norm

import scorefield as sf
from scorefield import losses
from scorefield.randomness import Stream

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.Cosine(), sf.EDM(sigma_max=20.0), sf.VE(sigma_max=10.0)]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
T_MIN, STD, D = 0.01, 0.7, 2


def exact_moments(n):
    """`(n, 2 D)` of mean 0 and covariance I exactly: the mean of a quadratic over it is the Gaussian's."""
    z = torch.randn(n, 2 * D, dtype=f64, generator=torch.Generator().manual_seed(0))
    z = z - z.mean(0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / n)).T


class Scaled(sf.Denoiser):
    """(1 + excess) E[x0 | x_t]: a wrong model, still linear on a Gaussian."""

    def __init__(self, denoiser, excess):
        super().__init__()
        self.denoiser, self.excess, self.schedule = denoiser, excess, denoiser.schedule
        self.data_mean, self.data_std = denoiser.data_mean, denoiser.data_std

    def forward(self, x_t, t):
        return (1 + self.excess) * self.denoiser(x_t, t)


def expected_continuous(denoiser, nodes=4000):
    """E L: exact over x0 and eps, by the midpoint rule over the law's quantiles."""
    z = exact_moments(24)
    x0, eps = STD * z[:, :D] + 0.4, z[:, D:]
    law = losses.Importance(denoiser.schedule, T_MIN)
    t = law.quantile((torch.arange(nodes, dtype=f64) + 0.5) / nodes).repeat_interleave(len(z))
    bound = losses.continuous_bound(denoiser, x0.repeat(nodes, 1), t_min=T_MIN, t=t, eps=eps.repeat(nodes, 1))
    return float(bound.mean())


def expected_discrete(denoiser, steps):
    z = exact_moments(24)
    grid = losses.Importance(denoiser.schedule, T_MIN).quantile(torch.linspace(1, 0, steps + 1, dtype=f64))
    return float(losses.discrete_bound(denoiser, STD * z[:, :D] + 0.4, grid, eps=z[:, D:]).mean())


def model(schedule):
    return sf.ExactDenoiser(
        sf.Gaussian(torch.full((D,), 0.4, dtype=f64), torch.full((D,), STD**2, dtype=f64)), schedule
    )


@schedules
def test_the_exact_models_bound_is_the_entropy_of_the_data_blurred_by_its_last_noise(schedule):
    """E L = h(N(m, (sd^2 + s(t_min)^2) I)): the prior is exact, and the integral is a difference of informations."""
    blurred = STD**2 + float(schedule.noise_ratio(T_MIN)) ** 2
    entropy = D / 2 * math.log(2 * math.pi * math.e * blurred)
    assert expected_continuous(model(schedule)) == pytest.approx(entropy, abs=2e-6)


@schedules
def test_discrete_bounds_lie_above_the_continuous_one_and_close_on_it_as_one_over_k(schedule):
    denoiser = model(schedule)
    continuous = expected_continuous(denoiser)
    gaps = [expected_discrete(denoiser, k) - continuous for k in (50, 100, 200, 400)]
    assert min(gaps) > 0
    ratios = [a / b for a, b in itertools.pairwise(gaps)]
    assert ratios[-1] == pytest.approx(2.0, abs=0.06)  # a Riemann sum: first order


@schedules
def test_a_wrong_model_pays_the_likelihood_weighted_error(schedule):
    """Its excess is 1/2 int ||D - E[x0|x_t]||^2 (-dSNR/dt) dt, for (1 + a) E[x0|x_t] in closed form by quadrature."""
    exact, wrong = model(schedule), Scaled(model(schedule), 0.2)
    law, n = losses.Importance(schedule, T_MIN), 4000
    t = law.quantile((torch.arange(n, dtype=f64) + 0.5) / n)
    alpha, sigma = schedule(t)
    second_moment = 0.4**2 + STD**4 * alpha**2 / (alpha**2 * STD**2 + sigma**2)  # of E[x0 | x_t], one coordinate
    excess = float((losses.weights.likelihood(schedule, t) / law.density(t) * 0.2**2 * second_moment).mean()) * D
    assert expected_continuous(wrong) - expected_continuous(exact) == pytest.approx(excess, rel=1e-6)


def test_the_ends_are_their_kullback_leibler_and_reconstruction():
    """At D = x0 nothing else is left: numerically integrated on the line."""

    class Omniscient(sf.Denoiser):
        schedule, data_mean, data_std = sf.VP(beta_max=4.0), 0.3, 0.8

        def forward(self, x_t, t):
            return torch.full_like(x_t, 1.1)

    denoiser, x0 = Omniscient(), torch.tensor([[1.1]], dtype=f64)
    alpha, sigma = (float(v) for v in denoiser.schedule(1.0))
    mean, std = denoiser.schedule.prior(1.0, mean=0.3, std=0.8)
    x = np.linspace(-12, 12, 20_001)
    log_q = norm.logpdf(x, alpha * 1.1, sigma)
    kl = trapezoid(np.exp(log_q) * (log_q - norm.logpdf(x, mean, std)), x)
    ratio = float(denoiser.schedule.noise_ratio(T_MIN))
    reconstruction = -trapezoid(norm.pdf(x) * norm.logpdf(1.1, 1.1 + ratio * x, ratio), x)
    bound = losses.continuous_bound(denoiser, x0, t_min=T_MIN, generator=Stream(0, torch.arange(1)))
    assert float(bound) == pytest.approx(kl + reconstruction, abs=1e-9)
    grid = torch.tensor([1.0, 0.5, T_MIN], dtype=f64)
    assert float(losses.discrete_bound(denoiser, x0, grid)) == pytest.approx(kl + reconstruction, abs=1e-9)


def test_the_bound_bounds_a_mixtures_entropy_and_any_law_of_t_estimates_it():
    """30,000 samples, 5 standard errors; the exact model of a mixture at s(t_min) = 0.04."""
    mixture = sf.GaussianMixture(
        torch.tensor([0.4, 0.6], dtype=f64),
        torch.tensor([[-1.0, 0.0], [0.8, 0.5]], dtype=f64),
        torch.tensor([[0.1, 0.2], [0.3, 0.1]], dtype=f64),
    )
    schedule = sf.VP()
    exact, n = sf.ExactDenoiser(mixture, schedule), 30_000
    x0 = mixture.sample(n, generator=torch.Generator().manual_seed(0))
    ratio = float(schedule.noise_ratio(T_MIN))
    blurred = mixture.noised(1.0, ratio)
    cost = -blurred.log_prob(x0 + ratio * torch.randn(n, 2, dtype=f64, generator=torch.Generator().manual_seed(1)))
    for law in (None, losses.Stratified(losses.Importance(schedule, T_MIN)), losses.LogNormal(schedule, -1.0, 1.5)):
        bound = losses.continuous_bound(exact, x0, t_min=T_MIN, times=law, generator=torch.Generator().manual_seed(2))
        error = math.sqrt(float(bound.var() + cost.var()) / n)
        assert abs(float(bound.mean() - cost.mean())) < 5 * error


def test_each_samples_discrete_bound_is_its_own():
    denoiser, index = model(sf.VP()), torch.arange(6)
    x0, grid = torch.randn(6, D, dtype=f64), torch.linspace(1, T_MIN, 6, dtype=f64)
    whole = losses.discrete_bound(denoiser, x0, grid, generator=Stream(0, index))
    alone = [losses.discrete_bound(denoiser, x0[i : i + 1], grid, generator=Stream(0, index[i : i + 1])) for i in index]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=1e-12, atol=0)
    assert losses.discrete_bound(denoiser, x0[:0], grid).shape == (0,)


def test_bad_grids_and_ends_get_one_clear_line():
    denoiser, x0 = model(sf.VP()), torch.zeros(2, D, dtype=f64)
    with pytest.raises(ValueError, match="grid must be one-dimensional, decreasing"):
        losses.discrete_bound(denoiser, x0, torch.tensor([0.1, 0.9]))
    with pytest.raises(ValueError, match=r"sigma\(t_min\) and alpha\(t_max\) must be positive; got sigma/alpha = 0"):
        losses.discrete_bound(denoiser, x0, torch.tensor([0.9, 0.0]))
    with pytest.raises(ValueError, match="must be finite at t_min and t_max"):
        losses.continuous_bound(model(sf.Rectified()), x0)
