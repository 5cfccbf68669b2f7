"""Time laws: their densities, their quantiles, and importance sampling."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import losses

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.VE(), sf.VE(from_zero=False), sf.EDM(), sf.Cosine(), sf.Rectified(), sf.Discrete.linear()]
LAWS = [losses.Uniform(), losses.Uniform(0.2, 0.7), *(losses.LogNormal(s, -0.5, 1.2) for s in SCHEDULES)]
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
