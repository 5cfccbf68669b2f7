"""A ladder made from data: its three rules, each against what it is meant to bring about."""

import math

import pytest
import torch
from scipy import optimize, stats

import scorefield as sf
from scorefield.losses import ladders, weights

f64 = torch.float64


def test_the_largest_noise_is_the_datas_diameter():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    made = ladders.ladder_of(x, smallest=0.01)
    assert float(made.sigmas[0]) == pytest.approx(5)
    assert float(made.sigmas[-1]) == pytest.approx(0.01)
    ratios = made.sigmas[:-1] / made.sigmas[1:]
    torch.testing.assert_close(ratios, torch.full_like(ratios, made.ratio))
    assert 1 < made.ratio <= ladders.geometric_ratio(2)
    assert float(ladders.ladder_of(x).sigmas[-1]) == pytest.approx(float((x - x.mean(0)).square().mean().sqrt()) / 100)


@pytest.mark.parametrize("dims", [100, 3072])
def test_half_of_a_level_lies_where_the_one_above_was_learned(dims):
    """By the exact law of |x|: the normal one that the rule takes is off by O(1 / sqrt(d))."""
    g = ladders.geometric_ratio(dims)
    middle, reach = math.sqrt(dims) * g, 3 * g / math.sqrt(2)
    inside = stats.chi.cdf(middle + reach, dims) - stats.chi.cdf(middle - reach, dims)
    assert inside == pytest.approx(0.5, abs=0.6 / math.sqrt(dims))
    # for many dimensions sqrt(2 D) (g - 1) = 3 g, which is 3 / (1 - 3 / sqrt(2 D)) / sqrt(2 D)
    assert g == pytest.approx(1 / (1 - 3 / math.sqrt(2 * dims)), rel=1e-3)


def test_the_step_brings_a_level_nearest_to_its_own_variance():
    for ratio, steps in ((1.04, 5), (1.5, 3), (3.0, 100)):
        e = ladders.langevin_step(ratio, steps)
        best = optimize.brute(
            lambda e, *of: ladders.variance_after(float(e[0]), *of), ((1e-4, 1.0),), (ratio, steps), Ns=4000
        )
        assert ladders.variance_after(e, ratio, steps) <= ladders.variance_after(float(best[0]), ratio, steps) + 1e-9  # type: ignore[index]


def test_the_variance_of_a_level_is_what_the_sampler_makes_of_it():
    """Data at one point: x at a level is its noise alone, and Langevin's variance is known after each step."""
    made = ladders.ladder_of(torch.tensor([[-1.0], [1.0]]), smallest=0.05, steps_per_level=3)
    point = sf.Gaussian(torch.zeros(1, dtype=f64), torch.full((1,), 1e-12, dtype=f64))
    exact = sf.ExactDenoiser(point, sf.EDM(sigma_max=float(made.sigmas[0])))
    solver = sf.AnnealedLangevin(3, made.step_size, denoise=False)
    times = made.grid(exact.schedule)[:3]
    x = sf.sample(exact, (200_000, 1), solver=solver, times=times, dtype=f64).x
    e, variance = made.step_size / 2, 1.0
    for _ in range(2):
        end = 2 / (2 - e)
        variance = (1 - e) ** 6 * (variance - end) + end
        last, variance = variance, variance * made.ratio**2
    assert float(x.square().mean() / made.sigmas[1] ** 2) == pytest.approx(last, rel=5 * math.sqrt(2 / 200_000))


def test_with_the_exact_score_the_ladder_finds_every_mode_at_its_weight():
    law = sf.distributions.eight_gaussians(dtype=f64)
    data = law.sample(2000, generator=torch.Generator().manual_seed(0))
    made = ladders.ladder_of(data, smallest=0.02, steps_per_level=20)
    exact = sf.ExactDenoiser(law, sf.EDM(sigma_max=float(made.sigmas[0])))
    x = sf.sample(exact, (2000, 2), solver=made.solver, times=made.grid(exact.schedule), dtype=f64).x
    share = torch.bincount(torch.cdist(x, law.means).argmin(1), minlength=8) / 2000
    assert float(share.min()) > 0.08
    law_of_t = made.law(exact.schedule)
    torch.testing.assert_close(exact.schedule.noise_ratio(torch.tensor(law_of_t.times, dtype=f64)), made.sigmas)


def test_what_makes_no_sense_is_refused():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match="data must be at least 2 that differ"):
        ladders.ladder_of(x[:1])
    with pytest.raises(ValueError, match=r"smallest must lie in \(0, 5\)"):
        ladders.ladder_of(x, smallest=6.0)
    with pytest.raises(ValueError, match="steps_per_level be at least 1"):
        ladders.ladder_of(x, steps_per_level=0)
    with pytest.raises(ValueError, match="dims must be at least 1"):
        ladders.geometric_ratio(0)
    with pytest.raises(ValueError, match="ratio must exceed 1"):
        ladders.langevin_step(1.0, 5)
    with pytest.raises(ValueError, match="schedule must reach the noise ratios"):
        ladders.ladder_of(x).law(sf.EDM(sigma_max=2.0))


def test_exponential_weights_are_the_named_ones():
    t = torch.tensor([0.1, 0.5, 0.9], dtype=f64)
    for rate, named in ((0.0, weights.x0), (2.0, weights.eps), (2.0, weights.ncsn)):
        for schedule in (sf.VP(), sf.EDM()):
            torch.testing.assert_close(weights.Exponential(rate)(schedule, t), named(schedule, t))
    torch.testing.assert_close(weights.Exponential(4.0)(sf.EDM(), t), weights.score(sf.EDM(), t))


def test_the_variance_after_some_steps_is_that_of_the_recursion():
    """x <- x - e x + sqrt(2 e) z of N(0, 1) noise, from a variance of ratio^2."""
    for e, ratio, steps in ((0.1, 1.3, 5), (0.6, 2.0, 1), (0.02, 1.05, 40)):
        v = ratio**2
        for _ in range(steps):
            v = (1 - e) ** 2 * v + 2 * e
        assert ladders.variance_after(e, ratio, steps) == pytest.approx(v, rel=1e-12)
