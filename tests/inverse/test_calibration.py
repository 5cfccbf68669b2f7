"""Posteriors of a Gaussian prior, x ~ N(0, 1) in 3-D, two noisy sums seen: exact, and wrong in known ways."""

from dataclasses import dataclass

import pytest
import torch
from scipy import stats

import scorefield as sf
from rounding import carried, gamma, product, same
from scorefield import inverse, plots
from scorefield.inverse.calibration import reference
from scorefield.inverse.method import Cost, Drawn
from scorefield.inverse.operators import Dense

f64 = torch.float64
A = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]], dtype=f64)
PRIOR = sf.GaussianMixture(torch.ones(1, dtype=f64), torch.zeros(1, 3, dtype=f64), torch.ones(1, 3, dtype=f64))
DENOISER = sf.ExactDenoiser(PRIOR, sf.VP())
STD = 0.5
TRUTHS = PRIOR.sample(600, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class Wrong(inverse.Method):
    """The exact posterior of y with its standard deviation `width` times as large; `blind`: the prior."""

    width: float = 1.0
    blind: bool = False

    def steps(self, nfe):
        return 1

    def cost(self, nfe, dim):
        return Cost(1)

    def draw(self, task, nfe, advance):
        if self.blind:
            return Drawn(task.normal(1))
        precision = torch.eye(3, dtype=f64) + A.T @ A / STD**2
        assert isinstance(task.own, inverse.GaussianNoise)
        mean = task.own.y @ A @ torch.linalg.inv(precision) / STD**2
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        return Drawn(mean + self.width * task.normal(1) @ root.T)


def checked(method, **options):
    return inverse.calibration(DENOISER, Dense(A), STD, TRUTHS, method=method, nfe=1, **options)


def test_a_right_posterior_passes():
    result = checked(Wrong())
    assert result.ranks.p_value > 0.01
    assert result.tarp.p_value > 0.01
    assert bool(((result.coverage.rates - result.coverage.levels).abs() < 3.5 * result.coverage.stderr).all())
    assert float(result.predictive.mean()) == pytest.approx(0.5, abs=4 * 0.29 / 600**0.5)


def test_the_bridge_passes():
    """On Gaussian data it is exact at any number of steps; the particles of a system share nothing."""
    result = inverse.calibration(DENOISER, Dense(A), STD, TRUTHS[:300], method=inverse.Bridge(particles=39), nfe=4)
    assert result.ranks.p_value > 0.01
    assert result.tarp.p_value > 0.01
    assert bool(((result.coverage.rates - result.coverage.levels).abs() < 3.5 * result.coverage.stderr).all())


def test_a_posterior_that_is_too_narrow_fails_by_the_known_amount():
    result = checked(Wrong(width=0.7))
    expected = [2 * stats.norm.cdf(0.7 * stats.norm.ppf((1 + level) / 2)) - 1 for level in (0.5, 0.8, 0.9, 0.95)]
    assert result.coverage.rates.tolist() == pytest.approx(expected, abs=0.04)  # 600 truths: 0.02, and 39 samples: 0.01
    assert result.ranks.p_value < 1e-2  # Kolmogorov-Smirnov sees widths less than shifts


def test_the_prior_passes_the_ranks_and_fails_where_the_measurement_is_looked_at():
    result = checked(Wrong(blind=True))
    assert result.ranks.p_value > 0.01
    assert result.tarp.p_value < 1e-10
    assert float(result.predictive.mean()) < 0.1


def test_the_reference_is_the_best_step_along_the_gradient():
    likelihood = inverse.GaussianNoise(Dense(A), torch.tensor([[1.0, -2.0]], dtype=f64), STD)
    best = reference(likelihood)
    direction = torch.tensor([[1.0, -2.0]], dtype=f64) @ A
    assert torch.allclose(torch.nn.functional.cosine_similarity(best, direction), torch.ones(1, dtype=f64))
    assert all(float(likelihood.chi2(best)) <= float(likelihood.chi2(best * (1 + e))) for e in (-1e-3, 1e-3))


def test_the_predictive_p_value_is_the_tail_of_chi2():
    likelihood = inverse.GaussianNoise(Dense(A), torch.tensor([[1.0, -2.0]], dtype=f64), STD)
    x = torch.randn(1, 5, 3, dtype=f64, generator=torch.Generator().manual_seed(0))
    expected = stats.chi2.sf(likelihood.rows(torch.zeros(5, dtype=torch.long)).chi2(x[0]).numpy(), 2).mean()
    assert float(inverse.predictive_p_value(likelihood, x)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.rounding
def test_measurements_and_samples_do_not_depend_on_what_stands_beside_them():
    few = inverse.calibration(DENOISER, Dense(A), STD, TRUTHS[:2], method=Wrong(), nfe=1)
    many = checked(Wrong())
    y = many.likelihood.y[:2]
    same(few.likelihood.y, y, product(A, TRUTHS[:2].double()) + gamma(2, f64) * y.abs())  # a product, and the noise
    same(few.predictive, many.predictive[:2], carried(lambda: checked(Wrong()).predictive, 3, f64))


def test_the_figure_draws_every_panel():
    fig = plots.calibration(checked(Wrong()), title="a right posterior")
    assert [len(ax.lines) + len(ax.patches) > 0 for ax in fig.axes] == [True] * 4
    assert plots.png_bytes(fig)[:4] == b"\x89PNG"


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
def test_it_works_in_inference_mode_on_what_was_made_in_it(dtype):
    def checked():
        operator = Dense(A.to(dtype))
        net = sf.networks.MLP(3, hidden=8, depth=1).to(dtype)
        truths = torch.randn(20, 3, dtype=dtype)
        denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_std=1.0)
        made = inverse.calibration(denoiser, operator, STD, truths, method=inverse.DPS(), n=5, nfe=4)
        c = inverse.FullCovariance().moments(denoiser, truths, torch.tensor(0.5, dtype=f64))
        return [made.predictive, made.tarp.ranks, made.ranks.ranks, reference(made.likelihood), c.mean]

    torch.manual_seed(0)
    expected = checked()
    torch.manual_seed(0)
    with torch.inference_mode():
        got = checked()
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)
