"""Every schedule against published closed forms, and the relations that hold between alpha, sigma, f, g and lambda."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import scorefield as sf
from scorefield.schedules import as_time, derivative

f64 = torch.float64
T = torch.cat([torch.tensor([1e-9, 1e-5]), torch.linspace(0.01, 0.99, 99, dtype=f64)])


def rescaled() -> torch.Tensor:
    """DDPM's linear chain, alpha moved and scaled so that the last is 0 and the first is kept (Lin et al. 2024)."""
    alpha = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=f64), 0).sqrt()
    return ((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2


ALL = {
    "VP": sf.VP(),
    "VP, steep": sf.VP(0.01, 40.0),
    "SubVP": sf.SubVP(),
    "VE": sf.VE(),
    "VE, geometric": sf.VE(0.01, 50.0, from_zero=False),
    "VEPower": sf.VEPower(25.0),
    "Brownian": sf.Brownian(2.0),
    "EDM": sf.EDM(),
    "Cosine": sf.Cosine(),
    "Cosine to pure noise": sf.Cosine(alpha_min=0.0),
    "Rectified": sf.Rectified(),
    "Discrete": sf.Discrete.linear(),
    "Discrete to pure noise": sf.Discrete(alphas_cumprod=rescaled()),
}
every = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL)


def close(got, expected, tolerance=1e-12):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def B(t, beta_min=0.1, beta_max=20.0):
    return beta_min * t + (beta_max - beta_min) * t**2 / 2


def beta(t):
    return 0.1 + 19.9 * t


# name: schedule, alpha, sigma^2, f, g^2, as printed in the papers
r = math.log(50.0 / 0.01)
PUBLISHED = {
    "VP": (
        sf.VP(),
        lambda t: torch.exp(-B(t) / 2),
        lambda t: 1 - torch.exp(-B(t)),
        lambda t: -beta(t) / 2,
        beta,
    ),
    "SubVP": (
        sf.SubVP(),
        lambda t: torch.exp(-B(t) / 2),
        lambda t: (1 - torch.exp(-B(t))) ** 2,
        lambda t: -beta(t) / 2,
        lambda t: beta(t) * (1 - torch.exp(-2 * B(t))),
    ),
    "VE": (
        sf.VE(0.01, 50.0),
        torch.ones_like,
        lambda t: 1e-4 * 5000.0 ** (2 * t) - 1e-4,
        torch.zeros_like,
        lambda t: 1e-4 * 5000.0 ** (2 * t) * 2 * r,
    ),
    "VE, geometric": (
        sf.VE(0.01, 50.0, from_zero=False),
        torch.ones_like,
        lambda t: 1e-4 * 5000.0 ** (2 * t),
        torch.zeros_like,
        lambda t: 1e-4 * 5000.0 ** (2 * t) * 2 * r,
    ),
    "VEPower": (
        sf.VEPower(25.0),
        torch.ones_like,
        lambda t: (25.0 ** (2 * t) - 1) / (2 * math.log(25.0)),
        torch.zeros_like,
        lambda t: 25.0 ** (2 * t),
    ),
    "EDM": (sf.EDM(), torch.ones_like, lambda t: (80 * t) ** 2, torch.zeros_like, lambda t: 2 * 80**2 * t),
    "Brownian": (
        sf.Brownian(2.0),
        torch.ones_like,
        lambda t: 4 * t,
        torch.zeros_like,
        lambda t: torch.full_like(t, 4.0),
    ),
    "Cosine": (
        sf.Cosine(alpha_min=0.2),
        lambda t: torch.cos(math.acos(0.2) * t),
        lambda t: torch.sin(math.acos(0.2) * t) ** 2,
        lambda t: -math.acos(0.2) * torch.tan(math.acos(0.2) * t),
        lambda t: 2 * math.acos(0.2) * torch.tan(math.acos(0.2) * t),
    ),
    "Rectified": (
        sf.Rectified(),
        lambda t: 1 - t,
        lambda t: t**2,
        lambda t: -1 / (1 - t),
        lambda t: 2 * t / (1 - t),
    ),
}


@pytest.mark.parametrize(("schedule", "alpha", "variance", "f", "g2"), PUBLISHED.values(), ids=PUBLISHED)
def test_agrees_with_the_published_closed_form(schedule, alpha, variance, f, g2):
    close(schedule.alpha(T), alpha(T))
    close(schedule.sigma(T) ** 2, variance(T))
    close(schedule.f(T), f(T))
    close(schedule.g2(T), g2(T))


def test_derived_coefficients_are_finite_and_right_at_t_zero():
    zero = torch.zeros((), dtype=f64)
    close(sf.VP().g2(zero), torch.tensor(0.1, dtype=f64))
    close(sf.VE().g2(zero), torch.tensor(1e-4 * 2 * r, dtype=f64))
    close(sf.Brownian(2.0).g2(zero), torch.tensor(4.0, dtype=f64))
    close(sf.Rectified().f(zero), torch.tensor(-1.0, dtype=f64))


@every
def test_is_data_at_zero_and_loses_signal_throughout(schedule):
    alpha, sigma = schedule(0.0)
    assert float(alpha) == pytest.approx(1, abs=1e-15)
    assert float(sigma) == (0.01 if schedule == ALL["VE, geometric"] else 0)
    assert bool((schedule.log_snr(T).diff() < 0).all())


@every
def test_g2_is_minus_two_sigma_squared_times_the_slope_of_log_snr(schedule):
    t = T[2:]
    close(schedule.g2(t), -2 * schedule.sigma(t) ** 2 * derivative(schedule.log_snr, t), 1e-9)


@every
def test_time_of_log_snr_inverts_log_snr(schedule):
    close(schedule.time_of_log_snr(schedule.log_snr(T)), T, 1e-9)
    assert float(schedule.time_of_log_snr(math.inf)) == 0
    assert float(schedule.time_of_log_snr(-math.inf)) == 1


@every
def test_closed_form_inverses_agree_with_bisection_also_near_the_data(schedule):
    t = torch.cat([torch.logspace(-9, -2, 15, dtype=torch.float64), torch.linspace(0.02, 1, 50, dtype=torch.float64)])
    s = schedule.noise_ratio(t)
    bisected = sf.Schedule._time_of_noise_ratio(schedule, s)
    torch.testing.assert_close(schedule._time_of_noise_ratio(s), bisected, rtol=1e-7, atol=1e-15)


@every
def test_transitions_compose_and_solve_the_moment_equations_of_the_sde(schedule):
    s, u, t = (torch.tensor(v, dtype=f64) for v in (0.2, 0.5, 0.8))
    (a, p), (b, q), (whole, std) = schedule.transition(s, u), schedule.transition(u, t), schedule.transition(s, t)
    close(whole, a * b)
    close(std**2, q**2 + (b * p) ** 2, 1e-10)
    h = 1e-6  # the transition over a short step is the SDE: mean 1 + f h, variance g^2 h
    scale, std = schedule.transition(u, u + h)
    assert float((scale - 1) / h) == pytest.approx(float(schedule.f(u)), rel=1e-4, abs=1e-6)
    assert float(std**2 / h) == pytest.approx(float(schedule.g2(u)), rel=1e-4)


@every
def test_posterior_is_bayes_rule(schedule):
    """q(x_s | x_t, x0) from the joint Gaussian of (x_s, x_t) given x0, conditioned in the textbook way."""
    s, t = torch.tensor(0.3, dtype=f64), torch.tensor(0.6, dtype=f64)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    scale = schedule.transition(s, t).scale
    gain = scale * sigma_s**2 / sigma_t**2  # Cov(x_s, x_t) / Var(x_t)
    x_t, x0, std = schedule.posterior(s, t)
    close(x_t, gain, 1e-10)
    close(x0, alpha_s - gain * alpha_t, 1e-10)
    close(std**2, sigma_s**2 - gain * scale * sigma_s**2, 1e-10)


@pytest.mark.parametrize("schedule", [s for s in ALL.values() if s(0.0)[1] == 0], ids=lambda s: type(s).__name__)
def test_posterior_at_s_zero_is_the_datum_and_at_s_equal_t_is_x_t(schedule):
    x_t, x0, std = schedule.posterior(0.0, 0.7)
    assert (float(x_t), float(x0), float(std)) == pytest.approx((0, 1, 0), abs=1e-15)
    x_t, x0, std = schedule.posterior(0.7, 0.7)
    assert (float(x_t), float(x0), float(std)) == pytest.approx((1, 0, 0), abs=1e-15)


def test_discrete_passes_through_every_step_of_the_chain_and_is_smooth_between():
    betas = np.linspace(1e-4, 0.02, 1000)
    schedule = sf.Discrete(betas=betas.tolist())
    knots = torch.arange(1, 1001, dtype=f64) / 1000
    close(schedule.alpha(knots) ** 2, torch.from_numpy(np.cumprod(1 - betas)), 1e-12)
    fine = torch.linspace(0, 1, 100_001, dtype=f64)[1:]
    assert bool((schedule.log_snr(fine).diff() < 0).all())
    # the limit of the chain is VP with beta(t) = K beta_k
    vp = sf.VP(0.1, 20.0)
    assert float((schedule.log_snr(fine[5000:]) - vp.log_snr(fine[5000:])).abs().max()) < 0.06


def test_a_chain_that_begins_flat_still_comes_from_the_data():
    """lambda falls by 0.01, then by 3: the cubic's slope at the first knot is 0, and sigma must vanish at t = 0."""
    log_snr = torch.tensor([2.0, 1.99, -1.0, -2.0], dtype=f64)
    schedule = sf.Discrete(alphas_cumprod=torch.sigmoid(2 * log_snr))
    close(schedule.log_snr(torch.arange(1, 5, dtype=f64) / 4), log_snr)
    assert [float(c) for c in schedule(0.0)] == [1, 0]
    t = torch.tensor([0.25 * math.exp(-1), 0.25 * math.exp(-100)], dtype=f64)  # a power of t, the smallest allowed
    close(schedule.log_snr(t), 2 + 1e-3 * torch.tensor([1.0, 100.0], dtype=f64))


def test_discrete_takes_alphas_cumprod_as_well():
    a, b = (
        sf.Discrete.linear(100),
        sf.Discrete(alphas_cumprod=sf.Discrete.linear(100).alpha(T.new_tensor(range(1, 101)) / 100) ** 2),
    )
    close(a.log_snr(T), b.log_snr(T), 1e-9)


def test_vp_by_terminal_alpha():
    schedule = sf.VP.from_terminal_alpha(0.01)
    assert float(schedule.alpha(torch.ones((), dtype=f64))) == pytest.approx(0.01, rel=1e-12)


def test_terminal_snr_and_prior_account_for_the_data_that_survives():
    schedule = sf.VE(0.01, 5.0)
    assert schedule.terminal_snr == pytest.approx(1 / (25 - 1e-4), rel=1e-12)
    mean, std = schedule.prior(mean=3.0, std=2.0)
    assert mean == pytest.approx(3.0)  # not 0
    assert std == pytest.approx(math.sqrt(4 + 25 - 1e-4))  # not 5


@every
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_the_prior_has_the_mean_and_the_variance_of_x_t(schedule, t):
    """Of alpha x0 + sigma eps, x0 of mean 3 and std 2; and of tensors, one for each number of x0."""
    alpha, sigma = (float(c) for c in schedule(t))
    assert schedule.prior(t, mean=3.0, std=2.0) == pytest.approx((3 * alpha, math.sqrt(4 * alpha**2 + sigma**2)))
    mean, std = torch.tensor([3.0, -1.0, 0.0], dtype=f64), torch.tensor([2.0, 0.5, 0.0], dtype=f64)
    close(schedule.prior(t, mean=mean, std=std).mean, alpha * mean)
    close(schedule.prior(t, mean=mean, std=std).std, torch.sqrt(alpha**2 * std**2 + sigma**2))


@every
def test_simulated_paths_have_the_marginals_of_the_kernel(schedule):
    """Mean and variance at three times from 4,000 paths; each of 6 z-scores beyond 4.5 has probability 7e-6."""
    n, x0, times = 4000, 1.5, torch.tensor([0.2, 0.6, 0.9], dtype=f64)
    path = schedule.simulate(torch.full((n, 1), x0, dtype=f64), times, generator=torch.Generator().manual_seed(0))
    for x, t in zip(path, times, strict=True):
        alpha, sigma = (float(v) for v in schedule(t))
        assert abs(float(x.mean()) - alpha * x0) < 4.5 * sigma / math.sqrt(n)
        assert abs(float(x.var()) / sigma**2 - 1) < 4.5 * math.sqrt(2 / n)


def test_brownian_increments_are_independent_and_gaussian():
    times = torch.linspace(0.25, 1, 4, dtype=f64)
    path = sf.Brownian().simulate(torch.zeros(2000, 1, dtype=f64), times, generator=torch.Generator().manual_seed(1))
    steps = torch.cat([path[:1], path.diff(dim=0)])[..., 0] / 0.5
    assert stats.kstest(steps.flatten().numpy(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(steps.numpy()) - np.eye(4)).max() < 0.1  # 4.5 standard errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.VP(20.0, 0.1), "beta_min must be below beta_max"),
        (lambda: sf.VE(-1.0, 50.0), "sigma_min must be a positive number; got -1"),
        (lambda: sf.VEPower(0.5), "base must exceed 1"),
        (lambda: sf.Cosine(alpha_min=1.5), r"alpha_min must lie in \[0, 1\)"),
        (lambda: sf.Discrete(), "give either betas or alphas_cumprod"),
        (
            lambda: sf.Discrete(betas=[0.1, 1.5]),
            r"betas must make alpha_bar fall from below 1.*got alpha_bar from 0.9 to -0.45",
        ),
        (lambda: sf.Discrete(betas=[0.1]), "at least 2 steps"),
        (lambda: sf.Discrete(alphas_cumprod=[0.9, 0.5, 0.6]), "rising at step 2"),
        (lambda: sf.Discrete(alphas_cumprod=[0.9, 0.0]), "at least 2 steps before alpha_bar = 0; got 1"),
        (lambda: sf.VP.from_terminal_alpha(1.5), "alpha must lie in"),
        (lambda: sf.VP()(999), r"t must lie in \[0, 1\].*got 999"),
        (lambda: sf.VP()(-0.1), "got -0.1"),
        (lambda: as_time(math.nan), "got nan"),
        (lambda: sf.VP().transition(0.9, 0.1), "s must not exceed t"),
        (lambda: sf.VP().simulate(torch.zeros(1, 1), torch.tensor([0.5, 0.1])), "increasing"),
    ],
)
def test_bad_input_gets_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@every
@pytest.mark.parametrize("name", ["f", "g2"])
def test_f_and_g2_can_be_differentiated_in_time(schedule, name):
    """Against central differences, whose error is h^2 / 6 of the third derivative: 1e-6 at h = 1e-5 here."""
    fn, t, h = getattr(schedule, name), T[20:80:7].clone().requires_grad_(), 1e-5
    if isinstance(schedule, sf.Discrete):  # cubic between its knots: stay inside one piece
        t = ((T[20:80:7] * 1000).floor() + 0.4).div(1000).requires_grad_()
    (rate,) = torch.autograd.grad(fn(t).sum(), t)
    with torch.no_grad():
        close(rate, (fn(t + h) - fn(t - h)) / (2 * h), 1e-3 if isinstance(schedule, sf.Discrete) else 1e-5)


class Learned(sf.Schedule):
    """A VP process whose beta = 0.1 + rate t is learned: f = -beta / 2, g^2 = beta."""

    def __init__(self, rate):
        self.rate = rate

    def alpha(self, t):
        return torch.exp(-self.rate * t**2 / 4 - 0.05 * t)

    def sigma(self, t):
        return torch.sqrt(-torch.expm1(-self.rate * t**2 / 2 - 0.1 * t))


def test_a_learned_schedule_gets_the_gradients_of_what_it_implies():
    rate = torch.tensor(10.0, dtype=f64, requires_grad=True)
    schedule = Learned(rate)
    for value, expected in ((schedule.f(0.5), -0.25), (schedule.g2(0.5), 0.5)):
        close(torch.autograd.grad(value, rate)[0], torch.tensor(expected, dtype=f64))


def test_derivatives_go_through_every_mode_and_leave_no_graph_behind():
    t, fn = torch.tensor(0.4, dtype=f64), sf.VP().alpha
    first, second = derivative(fn, t), derivative(lambda u: derivative(fn, u), t)
    close(second, fn(t) * ((beta(t) / 2) ** 2 - 19.9 / 2))
    assert not first.requires_grad
    forward = torch.func.jvp(lambda u: derivative(fn, u), (t,), (torch.ones_like(t),))
    close(torch.stack(forward), torch.stack([first, second]))
    close(torch.func.vmap(lambda u: derivative(fn, u))(T), derivative(fn, T))
    with torch.no_grad():
        assert not derivative(fn, t.clone().requires_grad_()).requires_grad
    with torch.inference_mode():
        close(derivative(fn, torch.tensor(0.4, dtype=f64)), first)
    close(derivative(torch.ones_like, t), torch.zeros_like(t))  # a schedule that does not depend on t there


def test_a_chain_that_ends_in_pure_noise_goes_through_its_knots_to_alpha_zero():
    schedule, abar = sf.Discrete(alphas_cumprod=rescaled()), rescaled()
    knots = torch.arange(1, 1001, dtype=f64) / 1000
    close(schedule.alpha(knots), abar.sqrt())
    assert float(schedule.alpha(torch.tensor(1.0, dtype=f64))) == 0
    fine = torch.linspace(0.99, 1, 2001, dtype=f64)
    assert bool((schedule.alpha(fine).diff() < 0).all())
    x = torch.randn(4, 3, dtype=f64)
    for target in (sf.V(), sf.X0()):
        assert bool(target.x0(schedule, x, x, 1.0).isfinite().all())
    with pytest.raises(ValueError, match=r"Eps.*does not determine the prediction at t = 1"):
        sf.Eps().x0(schedule, x, x, 1.0)


@pytest.mark.parametrize(
    "schedule", [sf.VP(), sf.SubVP(), sf.Cosine(), sf.Cosine(0.0), sf.Rectified(), sf.EDM(), sf.VE()]
)
def test_rates_are_the_derivatives(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for given, fn in zip(schedule.rates(t), (schedule.alpha, schedule.sigma), strict=True):
        by_autograd = sf.schedules.derivative(fn, t)
        assert torch.allclose(given, by_autograd, rtol=1e-10, atol=1e-12)
    again = [sf.schedules.derivative(lambda u, i=i: schedule.rates(u)[i], t[1:]) for i in (0, 1)]  # and have their own
    twice = [
        sf.schedules.derivative(lambda u, f=f: sf.schedules.derivative(f, u), t[1:])
        for f in (schedule.alpha, schedule.sigma)
    ]
    for a, b in zip(again, twice, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)
