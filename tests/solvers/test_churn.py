"""Churn against the published algorithm written out, and against the exact statistics of a linear problem."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians
from scorefield.randomness import Noise

f64 = torch.float64


def edm_algorithm_2(denoise, x, sigmas, z, *, churn, low, high, noise):
    """Karras et al. 2022, alg. 2, in their letters; z[i] is the noise of step i."""
    n = len(sigmas) - 1
    for i, (t, t_next) in enumerate(itertools.pairwise(sigmas)):
        gamma = min(churn / n, math.sqrt(2) - 1) if low <= t <= high else 0.0
        t_hat = t + gamma * t
        x_hat = x + math.sqrt(t_hat**2 - t**2) * noise * z[i]
        d = (x_hat - denoise(x_hat, t_hat)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if t_next:
            x = x_hat + (t_next - t_hat) * (d + (x - denoise(x, t_next)) / t_next) / 2
    return x


@pytest.mark.parametrize("settings", [(30, 0.01, 1, 1.007), (80, 0.05, 50, 1.003), (5, 0, math.inf, 1.0)])
@pytest.mark.parametrize("inner", [sf.Heun(), sf.Heun(path=sf.EDM(sigma_max=1e4))], ids=repr)
def test_heun_with_churn_is_karras_et_al_algorithm_2(settings, inner):
    schedule = sf.EDM(sigma_max=200.0)  # room above the grid's 80 to raise the noise into
    exact = sf.ExactDenoiser(eight_gaussians(), schedule)
    times = grids.karras(schedule, 18, s_max=80.0)
    start = 80 * torch.randn(16, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    z = Noise(3, torch.arange(16), (2,), f64).normals(range(1, 19))
    churn, low, high, noise = settings
    expected = edm_algorithm_2(
        lambda x, sigma: exact(x, sigma / 200),
        start,
        schedule.sigma(times).tolist(),
        z,
        churn=churn,
        low=low,
        high=high,
        noise=noise,
    )
    got = sf.sample(exact, start, solver=sf.Churn(inner, *settings), times=times, seed=3).x
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_a_vp_model_rescaled_is_a_ve_model_under_churn_too():
    """The same noise ratios and the same draws: x_VP / alpha = x_VE."""
    s = torch.cat([torch.logspace(math.log10(50), -2, 20, dtype=f64), torch.zeros(1, dtype=f64)])
    x = torch.randn(32, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    ends = []
    for schedule in (sf.VP(), sf.EDM(sigma_max=1e3), sf.Rectified()):
        exact = sf.ExactDenoiser(eight_gaussians(), schedule)
        times = schedule.time_of_log_snr(-s.log())
        alpha = schedule.alpha(times[0])
        ends.append(sf.sample(exact, alpha * x, solver=sf.Churn(), times=times).x)
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-7, atol=1e-7)


def test_without_churn_the_inner_solver_is_left():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    run = {"times": sf.grids.angular(exact.schedule, 12), "dtype": f64}
    plain = sf.sample(exact, (16, 2), solver=sf.DDIM(), **run).x
    assert torch.equal(sf.sample(exact, (16, 2), solver=sf.Churn(sf.DDIM(), amount=0), **run).x, plain)
    below = sf.Churn(sf.DDIM(), s_max=1e-6)  # an interval that holds no level of the grid
    assert torch.equal(sf.sample(exact, (16, 2), solver=below, **run).x, plain)


@pytest.mark.parametrize("noise", [1.0, 1.05])
def test_the_variance_of_gaussian_data_is_the_one_the_linear_recursion_gives(noise):
    """On N(0, v) every step is linear: Heun multiplies by m, churn adds to the variance. 40,000 samples, 4.5 standard
    errors of a variance (false alarm 7e-6). In 12 steps the recursion itself is some 2% from v with exact noise.
    """
    v, n, steps = 0.25, 40_000, 12
    schedule = sf.EDM(sigma_max=200.0)
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), torch.full((1,), v, dtype=f64)), schedule)
    times = grids.karras(schedule, steps, s_max=80.0)
    x = sf.sample(exact, (n, 1), solver=sf.Churn(amount=30, noise=noise), times=times, dtype=f64).x
    sigmas = schedule.sigma(times).tolist()
    variance, gamma = v + 80.0**2, min(30 / steps, math.sqrt(2) - 1)
    for a, b in itertools.pairwise(sigmas):
        up = (1 + gamma) * a
        variance += noise**2 * (up**2 - a**2)
        slope = [s / (v + s**2) for s in (up, b)]  # of (x - D) / sigma
        euler = 1 + (b - up) * slope[0]
        variance *= (1 + (b - up) * (slope[0] + slope[1] * euler) / 2 if b else euler) ** 2
    assert abs(float(x.var()) / variance - 1) < 4.5 * math.sqrt(2 / n)


def test_noise_is_not_raised_above_the_process():
    """From t = 1, where there is nothing above: the first step is the inner solver's."""
    exact = sf.ExactDenoiser(eight_gaussians(), sf.Rectified())
    times = torch.tensor([1.0, 0.5], dtype=f64)
    x = torch.randn(8, 2, dtype=f64)
    inner = sf.DDIM()
    got = sf.sample(exact, x, solver=sf.Churn(inner), times=times).x
    assert torch.equal(got, sf.sample(exact, x, solver=inner, times=times).x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.Churn(sf.DDPM()), r"Churn: solver must be deterministic.*got DDPM"),
        (lambda: sf.Churn(amount=-1.0), "amount must be at least 0"),
        (lambda: sf.Churn(s_min=2.0, s_max=1.0), "s_min <= s_max"),
    ],
)
def test_bad_settings_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_solver_that_remembers_is_refused():
    class Remembering(sf.DDIM):
        def step(self, denoise, state, step, normals):
            return super().step(denoise, state, step, normals)._replace(past=(state.x0,))

    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    with pytest.raises(ValueError, match="must be a one-step method"):
        sf.sample(exact, (2, 2), solver=sf.Churn(Remembering()), nfe=8)
