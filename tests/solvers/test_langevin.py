"""Langevin dynamics: its conventions, its bias, its failure between separated modes, and the repair by annealing."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids

f64 = torch.float64


def test_ula_has_the_bias_the_theory_gives():
    """On N(0, v) with step h the stationary variance is v / (1 - h / 4v): 1.4286 for v = 1, h = 1.2, not 1.

    A drift of h with noise sqrt(h) (the mixed conventions) would give about half. 20,000 chains: 4.5 standard errors.
    """
    h, n = 1.2, 20_000
    chain = sf.ula(lambda x: -x, torch.zeros(n, 1, dtype=f64), steps=60, step_size=h)
    expected = 1 / (1 - h / 4)
    assert abs(float(chain.x.var()) / expected - 1) < 4.5 * math.sqrt(2 / n)


def test_mala_removes_the_bias_at_the_same_step():
    n = 20_000
    chain = sf.mala(lambda x: -0.5 * x.square().sum(1), torch.zeros(n, 1, dtype=f64), steps=60, step_size=1.2)
    assert abs(float(chain.x.var()) - 1) < 4.5 * math.sqrt(2 / n)
    assert chain.acceptance is not None
    assert 0.5 < float(chain.acceptance.mean()) < 0.999


def test_mala_samples_an_unnormalised_energy():
    """exp(-x^4 + x^2), whose moments come from quadrature; 4.5 standard errors."""
    grid = torch.linspace(-4, 4, 20_001, dtype=f64)
    density = torch.exp(-(grid**4) + grid**2)
    second = float((density * grid**2).sum() / density.sum())
    fourth = float((density * grid**4).sum() / density.sum())
    energy = sf.Energy(lambda x: (-(x**4) + x**2).sum(1), (1,))
    n = 20_000
    chain = sf.mala(energy.log_prob, torch.zeros(n, 1, dtype=f64), steps=200, step_size=0.3)
    assert abs(float((chain.x**2).mean()) - second) < 4.5 * math.sqrt((fourth - second**2) / n)


def test_mala_stays_inside_the_support():
    inside = lambda x: torch.where((x > 0).all(1), -x.sum(1), -math.inf)  # noqa: E731  an exponential density
    chain = sf.mala(inside, torch.ones(500, 1, dtype=f64), steps=100, step_size=0.5)
    assert bool((chain.x > 0).all())


@pytest.mark.parametrize("dim", [2, 64])
def test_plain_langevin_gets_separated_modes_wrong_and_annealing_repairs_it(dim):
    """Two modes 8 apart with weights 0.8 and 0.2, std 0.5, started from N(0, I).

    The score between them does not know the weights, so plain Langevin keeps the start's 1 : 1. Annealed Langevin
    crosses at high noise. With 2,000 chains the standard error of a weight is 0.009.
    """
    means = torch.zeros(2, dim, dtype=f64)
    means[0, 0], means[1, 0] = 4.0, -4.0
    target = sf.GaussianMixture(torch.tensor([0.8, 0.2], dtype=f64), means, torch.full((2, dim), 0.25, dtype=f64))
    start = torch.randn(2000, dim, dtype=f64, generator=torch.Generator().manual_seed(0))
    plain = sf.ula(target.score, start, steps=500, step_size=0.05).x
    weight = float(target.responsibilities(plain).mean(0)[0])
    assert abs(weight - 0.5) < 0.05  # wrong by 0.3
    schedule = sf.VE(0.01, 20.0)
    annealed = sf.sample(
        sf.ExactDenoiser(target, schedule),
        (2000, dim),
        solver=sf.AnnealedLangevin(steps_per_level=20),
        times=grids.uniform_log_snr(schedule, 60, s_max=20.0, s_min=0.05),
        dtype=f64,
    ).x
    assert float(target.responsibilities(annealed).mean(0)[0]) == pytest.approx(0.8, abs=0.04)
    variance = annealed[annealed[:, 0] > 0].var(0)
    assert float(variance.mean()) == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sf.ula(lambda x: -x, torch.zeros(2, 1), steps=1, step_size=0.0), "step_size must be positive; got 0"),
        (lambda: sf.ula(lambda x: -x, torch.full((2, 1), math.nan), steps=1, step_size=0.1), "x must be finite"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
