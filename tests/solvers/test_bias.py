"""The error budget, against laws known in closed form and against samples; and the solvers made to have none."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids, solvers

f64 = torch.float64
SD = 0.5
SCHEDULES = [sf.VP(), sf.EDM(), sf.Rectified()]


def ladder(schedule: sf.Schedule, steps: int) -> torch.Tensor:
    return grids.uniform_log_snr(schedule, steps, s_max=80 * SD, s_min=grids.S_MIN * SD)


def gaussian(schedule: sf.Schedule, mean: float = 0.0) -> sf.ExactDenoiser:
    return sf.ExactDenoiser(
        sf.Gaussian(torch.full((1,), mean, dtype=f64), torch.full((1,), SD**2, dtype=f64)), schedule
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_ddims_bias_is_a_product_of_its_gains(schedule):
    """On N(0, sd^2) DDIM multiplies x by a + b kappa at each step; the std is the product, by hand."""
    times = ladder(schedule, 17)
    alpha, sigma = schedule(times)
    std = torch.hypot(alpha[0] * SD, sigma[0])
    for i in range(len(times) - 1):
        posterior_mean = alpha[i] * SD**2 / (alpha[i] ** 2 * SD**2 + sigma[i] ** 2)
        std = std * (alpha[i + 1] * posterior_mean + sigma[i + 1] / sigma[i] * (1 - alpha[i] * posterior_mean))
    bias = sf.discretisation_bias(sf.DDIM(), schedule, times, data_std=SD)
    assert bias.std == pytest.approx(float(std) / SD, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_ddpms_bias_is_its_variance_recursion(schedule):
    """v <- (a + b kappa)^2 v + posterior variance, from the schedule's own posterior q(x_s | x_t, x_0)."""
    times = ladder(schedule, 17)
    alpha, sigma = schedule(times)
    v = (alpha[0] * SD) ** 2 + sigma[0] ** 2
    for i in range(len(times) - 1):
        posterior_mean = alpha[i] * SD**2 / (alpha[i] ** 2 * SD**2 + sigma[i] ** 2)
        a, b, c = schedule.posterior(times[i + 1], times[i])
        v = (a + b * posterior_mean) ** 2 * v + c**2
    bias = sf.discretisation_bias(sf.DDPM(), schedule, times, data_std=SD)
    assert bias.std == pytest.approx(float(v.sqrt()) / SD, rel=1e-10)
    assert bias.mean == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "solver",
    [
        sf.EulerMaruyama(),
        sf.PredictorCorrector(),  # several draws a step
        sf.SASolver(),  # history
        sf.AnnealedLangevin(steps_per_level=2),
        sf.AnalyticDPM(),
    ],
    ids=repr,
)
def test_the_budget_is_what_samples_show(solver):
    """40,000 samples of N(0.3, 0.5^2): mean and std within 5 standard errors of the prediction, as the bias is not."""
    n, schedule, mean = 40_000, sf.VP(), 0.3
    times = ladder(schedule, 12)
    got = sf.sample(gaussian(schedule, mean), (n, 1), solver=solver, times=times, dtype=f64)
    assert float(got.x.std()) / SD == pytest.approx(got.bias.std, rel=5 / math.sqrt(2 * n))
    assert float(got.x.mean()) == pytest.approx(mean * got.bias.mean, abs=5 * got.bias.std * SD / math.sqrt(n))
    if not isinstance(solver, sf.AnalyticDPM):
        assert abs(got.bias.std - 1) > 10 / math.sqrt(2 * n)  # there was something to predict


def test_a_grid_that_stops_early_is_compared_with_the_law_there():
    times = torch.tensor([0.9, 0.7, 0.4], dtype=f64)
    bias = sf.discretisation_bias(sf.AnalyticDPM(), sf.VP(), times, data_std=SD)
    assert bias == pytest.approx((1, 1), abs=1e-12)


def test_a_solver_of_order_p_has_a_bias_of_order_p():
    """Halving the step divides the bias of DDPM (weak order 1) by 2, of AB2 on the rectified path with noise by 4."""
    second = sf.Multistep(2, solvers.PathVelocity(sf.Rectified()), corrector=False, eta=1.0)
    for solver, order in ((sf.DDPM(), 1), (second, 2)):
        error = []
        for n in (200, 400):
            times = grids.uniform(n, t_max=0.9, t_min=0.1)
            error.append(abs(sf.discretisation_bias(solver, sf.Cosine(), times, data_std=SD).std - 1))
        assert math.log2(error[0] / error[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("steps", [2, 7, 20])
def test_solvers_made_for_it_have_no_bias(schedule, steps):
    """1e-5: E[x0 | x_t] at the last level, sigma = 0.002 sd alpha, lacks half of 0.002^2 in std; and rounding."""
    times = ladder(schedule, steps)
    affine = (sf.DDPM(), sf.DDIM(), sf.DDIM(eta=0.5), sf.EulerMaruyama(), sf.Euler())
    if not bool(torch.isfinite(schedule.f(times[0]))):
        affine = affine[:3]  # those with a drift in t
    for solver in (sf.AnalyticDPM(), sf.AnalyticDPM(eta=0.3), *map(sf.GaussianExact, affine)):
        bias = sf.discretisation_bias(solver, schedule, times, data_std=SD)
        assert bias == pytest.approx((1, 1), abs=1e-5), solver


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_on_the_circle_any_amount_of_noise_keeps_the_std(eta, steps):
    for order in (2, 4):
        for quiet in (0.0, 1.0):
            solver = sf.Multistep(order, eta=eta, quiet=quiet)
            bias = sf.discretisation_bias(solver, sf.EDM(), ladder(sf.EDM(), steps), data_std=SD)
            assert bias.std == pytest.approx(1, abs=1e-9)


def test_gaussian_exact_ddpm_is_the_analytic_step():
    """Two derivations of one variance: what the Gaussian marginal lacks, and the law of total variance."""
    exact = gaussian(sf.VP(), 0.7)
    times = ladder(sf.VP(), 9)
    a, b = (
        sf.sample(exact, (64, 1), solver=s, times=times, dtype=f64).x
        for s in (sf.GaussianExact(sf.DDPM()), sf.AnalyticDPM())
    )
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_deterministic_method_made_exact_is_the_flow_of_any_gaussian():
    """x_s - alpha_s m = sqrt(V_s / V_t) (x_t - alpha_t m), one step of any length."""
    exact, m = gaussian(sf.VP(), 0.7), 0.7
    times = torch.tensor([0.95, 0.2], dtype=f64)
    x = torch.randn(8, 1, dtype=f64, generator=torch.Generator().manual_seed(0))
    (a, b), (c, d) = sf.VP()(times[0]), sf.VP()(times[1])
    flow = c * m + torch.hypot(SD * c, d) / torch.hypot(SD * a, b) * (x - a * m)
    for solver in (sf.DDIM(), sf.Euler()):
        torch.testing.assert_close(sf.sample(exact, x, solver=sf.GaussianExact(solver), times=times).x, flow)


def test_calibration_measures_the_posterior_variance():
    """E Cov[x_0 | x_t] of a Gaussian with two widths, for both together and each: 20,000 data, 5 standard errors."""
    var = torch.tensor([0.09, 0.49], dtype=f64)
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), var), sf.VP())
    n, t = 20_000, torch.tensor([0.05, 0.3, 0.6], dtype=f64)
    x0 = exact.distribution.sample(n, generator=torch.Generator().manual_seed(0))
    alpha, sigma = (c[:, None] for c in sf.VP()(t))
    truth = var * sigma**2 / (alpha**2 * var + sigma**2)
    tolerance = 5 * math.sqrt(2 / n) + 0.01  # and for interpolation between 24 levels
    each, both = (
        solvers.calibrate(exact, x0, each=e, generator=torch.Generator().manual_seed(1)).at(exact, t)
        for e in (True, False)
    )
    torch.testing.assert_close(each, truth, rtol=tolerance, atol=0)
    torch.testing.assert_close(both, truth.mean(1), rtol=tolerance, atol=0)


def test_calibrated_variances_keep_each_direction_of_a_gaussian():
    """A width for each number of x_0: the marginals of an anisotropic Gaussian come out, where one scalar cannot."""
    var = torch.tensor([0.09, 0.49], dtype=f64)
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), var), sf.VP())
    x0 = exact.distribution.sample(20_000, generator=torch.Generator().manual_seed(0))
    times, n = grids.uniform_log_snr(sf.VP(), 10, s_max=40.0), 40_000
    std = {}
    for each in (True, False):
        variance = solvers.calibrate(exact, x0, each=each, generator=torch.Generator().manual_seed(1))
        x = sf.sample(exact, (n, 2), solver=sf.AnalyticDPM(x0_variance=variance), times=times, dtype=f64).x
        std[each] = x.std(0) / var.sqrt()
    assert float((std[True] - 1).abs().max()) < 5 / math.sqrt(2 * n) + 0.02
    assert float((std[False] - 1).abs().max()) > 0.05


def test_refusals_name_the_argument():
    with pytest.raises(ValueError, match="data_std must be positive"):
        sf.discretisation_bias(sf.DDIM(), sf.VP(), ladder(sf.VP(), 3), data_std=0.0)
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        sf.AnalyticDPM(eta=1.5)
    with pytest.raises(ValueError, match="log_snr"):
        solvers.CalibratedVariance(torch.tensor([1.0, 0.0]), torch.ones(2))
