"""Edits keep the law of the data and go the distance their strength says; inpainting's bias, measured."""

import math
from itertools import pairwise

import pytest
import torch

import scorefield as sf

f64 = torch.float64
STRENGTHS = [0.2, 0.4, 0.6, 0.8, 1.0]
SOLVERS = [None, sf.DPMSolverPP(eta=1.0)]
VARIANCES = torch.tensor([0.25, 1.0, 1.75], dtype=f64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixture():
    means = torch.tensor([[2.0, 0.0], [-1.5, 1.0], [-0.2, -1.6]], dtype=f64)
    return sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, torch.full((3, 2), 0.09, dtype=f64))


def exact(law, schedule=None):
    return sf.ExactDenoiser(law, schedule or sf.VP())


def gaussian():
    return sf.Gaussian(torch.zeros(3, dtype=f64), VARIANCES)  # standard deviation 1 on average


@pytest.mark.parametrize("solver", SOLVERS, ids=["ode", "sde"])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_edited_data_have_the_law_of_the_data_at_every_strength(strength, solver):
    """Shares of three components (a multinomial), and the moments within them: 4.5 standard errors of 4,000, and 0.02
    of a variance for the steps of the SDE."""
    n, law = 4000, mixture()
    x = sf.edit(exact(law), law.sample(n, generator=generator()), strength, solver=solver, nfe=60, seed=1).x
    nearest = (x[:, None] - law.means).square().sum(2).argmin(1)
    for k, share in enumerate(law.weights.tolist()):
        of_k = x[nearest == k] - law.means[k]
        assert abs(len(of_k) / n - share) < 4.5 * math.sqrt(share * (1 - share) / n)
        assert float(of_k.mean(0).abs().max()) < 4.5 * 0.3 / math.sqrt(len(of_k))
        assert float((of_k.var(0) / 0.09 - 1).abs().max()) < 4.5 * math.sqrt(2 / len(of_k)) + 0.02


@pytest.mark.parametrize(("solver", "power"), [(None, 1), (sf.DPMSolverPP(eta=1.0), 2)], ids=["ode", "sde"])
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
def test_an_edit_of_gaussian_data_keeps_the_correlation_its_angle_says(schedule, strength, solver, power):
    """Axis of variance c: cos by the ODE, cos^2 by the SDE, of atan(s / sqrt(c)); at s = tan(strength pi / 2)."""
    n = 20_000
    x = gaussian().sample(n, generator=generator())
    edited = sf.edit(exact(gaussian(), schedule), x, strength, solver=solver, nfe=60, seed=1).x
    s = math.tan(strength * math.pi / 2)
    expected = torch.sqrt(VARIANCES / (VARIANCES + s**2)) ** power
    correlation = (x * edited).mean(0) / VARIANCES
    torch.testing.assert_close(correlation, expected, rtol=0, atol=4.5 * math.sqrt(2 / n) + 2e-3)


def test_the_distance_grows_with_strength_from_nothing_to_that_of_independent_draws():
    n, law = 2000, mixture()
    x = law.sample(n, generator=generator())
    moved = [float((sf.edit(exact(law), x, s).x - x).square().sum(1).mean()) for s in (0.0, *STRENGTHS)]
    assert moved[0] == 0
    assert all(a < b for a, b in pairwise(moved))
    assert moved[-1] == pytest.approx(2 * float(law.variance.sum()), rel=0.1)


def test_the_two_ends_are_the_datum_and_the_sample():
    denoiser, x = exact(mixture()), mixture().sample(8, generator=generator())
    same = sf.edit(denoiser, x, 0.0)
    assert torch.equal(same.x, x)
    assert same.nfe == 0
    fresh = sf.edit(denoiser, x, 1.0, seed=5, nfe=20)
    assert torch.equal(fresh.x, sf.sample(denoiser, (8, 2), seed=5, nfe=20, dtype=f64).x)
    assert fresh.nfe == sf.edit(denoiser, x, 0.5, nfe=20).nfe == 20


@pytest.mark.parametrize("solver", [None, sf.DDPM(), sf.DPMSolverPP(eta=1.0)], ids=["default", "ddpm", "sde"])
def test_an_edit_means_the_same_on_every_schedule(solver):
    """The same noise, the same angle, the same nodes: the same picture, where no step sees the clock."""
    x = mixture().sample(32, generator=generator())
    vp, edm = (sf.edit(exact(mixture(), s), x, 0.5, solver=solver, nfe=20, seed=1).x for s in (sf.VP(), sf.EDM()))
    torch.testing.assert_close(edm, vp, rtol=0, atol=1e-6)


def test_a_condition_makes_it_another_class():
    """Class k is N(8 k, 1): what was around 0 is around 8 after an edit that forgets enough."""
    x = torch.randn(500, 1, dtype=f64, generator=generator())
    ones = torch.ones(500, dtype=torch.int64)
    edited = sf.edit(Classes(), x, 0.9, cond={"label": ones}, chunk=77, nfe=40).x
    s = math.tan(0.9 * math.pi / 2)
    assert float(edited.mean()) == pytest.approx(8 * (1 - 1 / math.sqrt(1 + s**2)), abs=4.5 / math.sqrt(500))


class Classes(sf.Denoiser):
    schedule = sf.VP()

    def forward(self, x_t, t, *, label):
        alpha, sigma = self.schedule(t)
        k = 8.0 * label[:, None]
        return k + alpha * (x_t - alpha * k) / (alpha**2 + sigma**2)


def test_an_edit_does_not_depend_on_the_batch():
    denoiser, x = exact(mixture()), mixture().sample(32, generator=generator())
    mask = torch.tensor([True, False])
    edits = {
        "ode": lambda x, **o: sf.edit(denoiser, x, 0.5, nfe=10, **o),
        "sde": lambda x, **o: sf.edit(denoiser, x, 0.5, nfe=10, solver=sf.DDPM(), **o),
        "inpaint": lambda x, **o: sf.inpaint(denoiser, x, mask, nfe=20, resamples=2, **o),
    }
    for edited in edits.values():
        whole = edited(x).x
        assert torch.equal(edited(x[9:10], first_index=9).x, whole[9:10])
        assert torch.equal(edited(x, chunk=7).x, whole)
        assert not torch.equal(edited(x, seed=1).x, whole)


# --- inpainting ---


def pull_and_spread(resamples, *, schedule=None, steps=50, n=4000, rho=0.8, jump=5):
    """Of the second of two standard normals of correlation rho, given the first: the slope of its regression on it over
    rho, and its residual variance over 1 - rho^2; both are 1 in the posterior."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=f64)
    law = sf.Gaussian(torch.zeros(2, dtype=f64), covariance)
    x = law.sample(n, generator=generator())
    y = sf.inpaint(
        exact(law, schedule), x, torch.tensor([True, False]), nfe=steps * resamples, resamples=resamples, jump=jump
    ).x
    assert torch.equal(y[:, 0], x[:, 0])
    slope = float((y[:, 0] * y[:, 1]).mean() / y[:, 0].square().mean())
    return slope / rho, float((y[:, 1] - slope * y[:, 0]).var()) / (1 - rho**2)


def test_resampling_takes_most_of_the_bias_of_replacement():
    """The pull of what is known: its standard error is 0.012. Plain replacement misses four tenths of it."""
    pulls = [pull_and_spread(r)[0] for r in (1, 2, 5, 20)]
    assert pulls[0] < 0.65
    assert all(b - a > 0.05 for a, b in pairwise(pulls))
    assert 0.92 < pulls[-1] < 1


def test_the_spread_is_not_the_posteriors():
    """What the documentation warns of: too large, the less the more often a stretch is walked. Standard error 0.022."""
    spreads = [pull_and_spread(r)[1] for r in (1, 2, 5)]
    assert spreads[0] > 1.3
    assert all(b < a - 0.1 for a, b in pairwise(spreads))
    assert spreads[-1] > 1


def test_replacement_alone_is_the_same_whatever_the_length_of_a_stretch_and_the_schedule():
    assert pull_and_spread(1, jump=1) == pull_and_spread(1, jump=50)
    assert pull_and_spread(1, schedule=sf.EDM()) == pytest.approx(pull_and_spread(1), abs=1e-3)


def test_independent_parts_are_drawn_from_their_own_law():
    """Nothing to pull: the rest is a sample, of the variance it should have. 4.5 standard errors."""
    pull, spread = pull_and_spread(2, steps=100, rho=1e-9)
    assert abs(pull * 1e-9) < 4.5 / math.sqrt(4000)
    assert spread == pytest.approx(1, abs=4.5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(from_zero=False)], ids=["VP", "a process that never is clean"])
def test_known_pixels_are_exact_whatever_stands_in_the_others(schedule):
    law = sf.Empirical(torch.randn(5, 1, 4, 4, generator=generator(2)), bandwidth=0.2)
    x = torch.randn(6, 1, 4, 4, generator=generator())
    mask = torch.rand(6, 1, 4, 4, generator=generator(1)) < 0.5
    result = sf.inpaint(exact(law, schedule), x, mask, nfe=21, resamples=2, jump=3)
    assert torch.equal(result.x[mask], x[mask])
    assert result.nfe == 20
    changed = torch.where(mask, x, 100.0)
    assert torch.equal(sf.inpaint(exact(law, schedule), changed, mask, nfe=21, resamples=2, jump=3).x, result.x)
    everything = torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.equal(sf.inpaint(exact(law, schedule), x, everything, nfe=4, resamples=1).x, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, x: sf.edit(d, x, 1.5), r"strength must lie in \[0, 1\]; got 1.5"),
        (lambda d, x: sf.edit(d, x, math.nan), r"strength must lie in \[0, 1\]; got nan"),
        (lambda d, x: sf.edit(d, x.long(), 0.5), "x must be floating point of shape"),
        (lambda d, x: sf.edit(d, x / 0, 0.5), "x must be finite"),
        (lambda d, x: sf.edit(d, x, 0.5, nfe=0), "nfe must be at least 1; got 0"),
        (lambda d, x: sf.inpaint(d, x, x), r"mask must be bool of shape \(2,\) or \(4, 2\); got torch.float64"),
        (lambda d, x: sf.inpaint(d, x, torch.ones(3, dtype=torch.bool)), r"mask must be bool .*got torch.bool, \(3,\)"),
        (lambda d, x: sf.inpaint(d, x, x > 0, resamples=0), "resamples and jump must be at least 1"),
        (lambda d, x: sf.inpaint(d, x, x > 0, nfe=4), "nfe at least resamples; got 5, 5 and 4"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(exact(mixture()), torch.ones(4, 2, dtype=f64))
    assert "\n" not in str(error.value)
