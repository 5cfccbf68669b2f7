"""Time laws: their densities, their quantiles, and importance sampling."""

import math
import pickle

import pytest
import torch
from scipy.integrate import simpson
from scipy.optimize import brentq

import scorefield as sf
from scorefield import losses
from scorefield.randomness import Stream

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.VE(), sf.VE(from_zero=False), sf.EDM(), sf.Cosine(), sf.Rectified(), sf.Discrete.linear()]
LAWS = [losses.Uniform(), losses.Uniform(0.2, 0.7), losses.LogitNormal(-0.3, 0.8)]
LAWS += [losses.LogNormal(s, -0.5, 1.2) for s in SCHEDULES]
LAWS += [losses.Importance(s, 1e-3, 0.999) for s in SCHEDULES]
laws = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(getattr(law, "schedule", law)).__name__)


@laws
def test_the_density_integrates_to_the_inverse_of_the_quantile(law):
    """The integral of p from Q(u) to Q(v) is v - u."""
    u = torch.linspace(0.02, 0.98, 13, dtype=f64)
    ends = law.quantile(u)
    for low, high, mass in zip(ends[:-1], ends[1:], u.diff(), strict=True):
        t = low * (high / low) ** torch.linspace(0, 1, 4001, dtype=f64)  # geometric: s may span decades
        assert float(torch.trapezoid(law.density(t), t)) == pytest.approx(float(mass), rel=2e-5)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_log_normal_times_have_log_normal_noise_ratios(schedule):
    law, u = losses.LogNormal(schedule, -0.5, 1.2), torch.linspace(0.001, 0.999, 99, dtype=f64)
    log_s = -schedule.log_snr(law.quantile(u))
    low, high = law._range
    cdf = torch.special.ndtr((log_s + 0.5) / 1.2)
    a, b = (torch.special.ndtr(torch.tensor((v + 0.5) / 1.2, dtype=f64)) for v in (low, high))
    torch.testing.assert_close((cdf - a) / (b - a), u, rtol=0, atol=1e-6)


def test_importance_sampling_changes_the_variance_only():
    """E_p[f / p] is the integral of f for every law p: 100,000 draws, 5 standard errors."""
    schedule = sf.VP()
    for law in (losses.Uniform(0, 1), losses.LogNormal(schedule, 0.0, 3.0)):
        t = law.sample(100_000, torch.Generator().manual_seed(0))
        ratio = torch.sin(math.pi * t) ** 2 / law.density(t)
        assert abs(float(ratio.mean()) - 0.5) < 5 * float(ratio.std()) / math.sqrt(1e5)


@laws
def test_stratified_times_fall_one_in_each_stratum(law):
    n, spread = 64, losses.Stratified(law)
    t = spread.sample(n, torch.Generator().manual_seed(0))
    edges = law.quantile(torch.arange(1, n, dtype=f64) / n)
    assert torch.equal(torch.searchsorted(edges, t.sort().values), torch.arange(n))
    assert not torch.equal(t, t.sort().values)
    again = spread.sample(n, torch.Generator().manual_seed(0))
    assert torch.equal(t, again)
    assert torch.equal(spread.density(t), law.density(t))
    assert spread.sample(0).shape == (0,)


def test_bad_laws_are_refused():
    with pytest.raises(ValueError, match="t_min < t_max"):
        losses.Uniform(0.5, 0.5)
    with pytest.raises(ValueError, match="std must be positive"):
        losses.LogNormal(sf.EDM(), std=0.0)
    with pytest.raises(ValueError, match="must overlap"):
        losses.LogNormal(sf.VE(sigma_max=1.0), mean=30.0, std=1.0)


def mean_above(law, t_min, f, n=20_001):
    """E_law[f(t); t >= t_min], by Simpson's rule over the quantiles' own variable: f is smooth there."""
    u_min: float = brentq(lambda u: float(law.quantile(torch.tensor(u, dtype=f64))) - t_min, 0.0, 1.0, xtol=1e-15)  # pyright: ignore
    u = u_min + (1 - 1e-9 - u_min) * torch.linspace(0, 1, n, dtype=f64) ** 2  # finer where weights are steep
    return float(simpson(f(law.quantile(u)).numpy(), x=u.numpy()))


def test_logit_normal_times_have_normal_logits():
    law, u = losses.LogitNormal(-0.4, 0.7), torch.linspace(0.001, 0.999, 99, dtype=f64)
    torch.testing.assert_close(torch.logit(law.quantile(u)), -0.4 + 0.7 * torch.special.ndtri(u))
    assert law.density(torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_importance_is_proportional_to_g2_over_sigma2_and_uniform_in_log_snr(schedule):
    law = losses.Importance(schedule, 1e-3, 0.99)
    t = torch.linspace(0.01, 0.98, 50, dtype=f64)
    ratio = law.density(t) * schedule.sigma(t) ** 2 / schedule.g2(t)
    torch.testing.assert_close(ratio, ratio[:1].expand(50), rtol=1e-6, atol=0)
    u = torch.linspace(0, 1, 11, dtype=f64)
    steps = schedule.log_snr(law.quantile(u)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(10), rtol=1e-6, atol=0)


def test_importance_times_turn_the_likelihood_weight_into_ddpms():
    """w_likelihood / p = Z/2 SNR with Z = 2 (lambda(t_min) - lambda(1))."""
    schedule, t = sf.VP(), torch.linspace(0.002, 1.0, 50, dtype=f64)
    law = losses.Importance(schedule, 0.001)
    z = 2 * (schedule.log_snr(torch.tensor(0.001, dtype=f64)) - schedule.log_snr(torch.tensor(1.0, dtype=f64)))
    balanced = losses.weights.likelihood(schedule, t) / law.density(t)
    torch.testing.assert_close(balanced, z / 2 * losses.weights.eps(schedule, t), rtol=1e-6, atol=0)


@pytest.mark.parametrize("weight", [losses.weights.likelihood, losses.weights.eps, losses.weights.MinSNR()])
def test_a_weight_over_a_law_has_the_expectation_of_another_law_exactly(weight):
    """E_q[w (p / q) f] = E_p[w f] by quadrature, f the exact denoiser's loss on N(0, 0.3^2)."""
    schedule, base = sf.VP(), losses.Uniform(0.01, 1.0)

    def mmse(t):
        alpha, sigma = schedule(t)
        return 0.09 * sigma**2 / (0.09 * alpha**2 + sigma**2)

    def mean(law):
        balanced = losses.weights.ImportanceWeighted(weight, law, base)
        return mean_above(law, 0.0100001, lambda t: balanced(schedule, t) * mmse(t))

    expected = mean(base)
    for law in (losses.Importance(schedule, 0.01), losses.LogitNormal(0.0, 2.5), losses.LogNormal(schedule, 0.0, 3.0)):
        assert mean(law) == pytest.approx(expected, rel=1e-5)


def test_importance_sampling_takes_the_variance_of_the_likelihood_loss_and_leaves_its_mean():
    """Drawn from g^2 / sigma^2 (Song et al. 2021b): the same mean, here at 0.068 of the variance."""
    schedule = sf.VP()
    data = sf.Gaussian(torch.zeros(4, dtype=f64), torch.full((4,), 0.25, dtype=f64))
    exact, base = sf.ExactDenoiser(data, schedule), losses.Uniform(1e-3, 1.0)
    law = losses.Importance(schedule, 1e-3)
    x0 = data.sample(40_000, generator=torch.Generator().manual_seed(0))
    likelihood = losses.weights.likelihood
    plain, balanced = (
        losses.denoising(exact, x0, weight=w, times=times, generator=torch.Generator().manual_seed(1))
        for w, times in (
            (likelihood, base),
            (losses.weights.ImportanceWeighted(likelihood, law, base), law),
        )
    )
    error = float((plain.var() + balanced.var()).sqrt()) / 200
    assert abs(float(plain.mean() - balanced.mean())) < 5 * error  # false alarm 6e-7
    assert float(balanced.var() / plain.var()) < 0.1


def test_a_ladder_has_its_probabilities():
    law = losses.Ladder([0.1, 0.7, 0.4], [0.5, 0.2, 0.3])
    u = (torch.arange(1000, dtype=f64) + 0.5) / 1000
    t = law.quantile(u)
    assert [int((t == rung).sum()) for rung in (0.1, 0.7, 0.4)] == [500, 200, 300]
    assert law.density(torch.tensor([0.4, 0.1, 0.2], dtype=f64)).tolist() == [0.3, 0.5, 0.0]
    even = losses.Ladder([0.1, 0.7, 0.4])
    balanced = losses.weights.ImportanceWeighted(losses.weights.x0, law, even)(sf.VP(), t)
    assert float((balanced * t).mean()) == pytest.approx(0.4, rel=1e-12)  # (0.1 + 0.7 + 0.4) / 3
    assert losses.Ladder.steps(4).times == (0.25, 0.5, 0.75, 1.0)


def test_ddpms_ladder_stands_on_the_knots_of_its_schedule():
    schedule = sf.Discrete.linear(1000)
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=f64), 0)
    t = torch.tensor(losses.Ladder.steps(1000).times, dtype=f64)
    torch.testing.assert_close(schedule.alpha(t) ** 2, abar, rtol=1e-9, atol=0)


def test_ncsns_ladder_has_a_constant_ratio_and_the_two_ends():
    """sigma_i = sigma_1 (sigma_L / sigma_1)^((i-1)/(L-1)), not sigma_1^(i/L)."""
    schedule = sf.VE(sigma_min=0.005, sigma_max=60.0)
    law = losses.Ladder.geometric(schedule, 50.0, 0.01, 232)
    sigma = schedule.sigma(torch.tensor(law.times, dtype=f64))
    torch.testing.assert_close(sigma[[0, -1]], torch.tensor([50.0, 0.01], dtype=f64), rtol=1e-9, atol=0)
    torch.testing.assert_close(sigma[1:] / sigma[:-1], torch.full((231,), (0.01 / 50) ** (1 / 231), dtype=f64))


def test_stratified_times_are_shared_by_two_processes_and_still_spread():
    """From a Stream each time is a function of its sample's index: half a batch has half the batch's times."""
    law, index = losses.Stratified(losses.Importance(sf.VP(), 1e-3)), torch.arange(256)
    t = law.sample(256, Stream(3, index))
    halves = [law.sample(128, Stream(3, index[k::2])) for k in (0, 1)]
    assert torch.equal(torch.stack(halves, 1).flatten(), t)
    log_snr = sf.VP().log_snr(t.sort().values)
    assert float((-log_snr.diff()).max() / (log_snr[0] - log_snr[-1])) < 2 / 256 * 1.02  # golden-ratio gaps: 1.894 / n


def test_laws_survive_pickling():
    for law in (losses.LogNormal(sf.VP()), losses.Importance(sf.VP(), 0.01), losses.Ladder.steps(3)):
        u = torch.rand(5, dtype=f64)
        assert torch.equal(pickle.loads(pickle.dumps(law)).quantile(u), law.quantile(u))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.LogitNormal(std=-1.0), "std must be positive"),
        (lambda: losses.Importance(sf.VP(), 0.5, 0.5), "t_min < t_max"),
        (
            lambda: losses.Importance(sf.Rectified(), 0.1),
            r"must be finite at t_min and t_max; got -2.19722 at 0.1 and inf at 1",
        ),
        (lambda: losses.Ladder([]), "at least one"),
        (lambda: losses.Ladder([0.1, 0.1]), "distinct"),
        (lambda: losses.Ladder([0.1, 0.2], [0.5, 0.6]), "2 probabilities that sum to 1"),
        (lambda: losses.Ladder.geometric(sf.VE(), 1.0, 0.0, 3), "two positive ends"),
    ],
)
def test_bad_laws_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
