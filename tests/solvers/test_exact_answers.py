"""Solvers against closed forms: equivalences and Gaussians."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians

f64 = torch.float64
CIRCLE = sf.Cosine(alpha_min=0.0)


def test_ddim_with_eta_one_is_ddpm():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.Discrete.linear())
    times = grids.ddpm(sf.Discrete.linear(), 50)
    ddpm = sf.sample(exact, (64, 2), solver=sf.DDPM(), times=times, dtype=f64).x
    ddim = sf.sample(exact, (64, 2), solver=sf.DDIM(eta=1.0), times=times, dtype=f64).x
    torch.testing.assert_close(ddim, ddpm, rtol=1e-9, atol=1e-9)


def test_ddpm_is_ho_et_al_algorithm_2():
    """x_{k-1} = (x_k - beta_k / sqrt(1 - abar_k) eps) / sqrt(1 - beta_k) + std z, in the chain's betas."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=f64)
    abar = torch.cumprod(1 - betas, 0)
    exact = sf.ExactDenoiser(eight_gaussians(), sf.Discrete.linear())
    k, x = 600, torch.randn(5, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    t, s = torch.tensor((k + 1) / 1000, dtype=f64), torch.tensor(k / 1000, dtype=f64)
    eps = sf.eps(exact, x, t)
    mean = (x - betas[k] / torch.sqrt(1 - abar[k]) * eps) / torch.sqrt(1 - betas[k])
    z = torch.randn(5, 2, dtype=f64)
    for large, variance in ((False, betas[k] * (1 - abar[k - 1]) / (1 - abar[k])), (True, betas[k])):
        solver = sf.DDPM(large_variance=large)
        (step,) = solver.plan(exact, torch.stack([t, s]))
        got = solver.step(exact, solver.init(x), step, lambda _: z).x
        torch.testing.assert_close(got, mean + torch.sqrt(variance) * z, rtol=1e-9, atol=1e-9)


def test_ddim_is_exponential_euler_and_euler_on_the_edm_path():
    """One method under three names: the change of scale makes them equal on every schedule."""
    for schedule in (sf.VP(), sf.SubVP(), sf.EDM(), sf.Rectified()):
        exact = sf.ExactDenoiser(eight_gaussians(), schedule)
        times = grids.uniform_log_snr(schedule, 12, s_max=50.0)
        ddim = sf.sample(exact, (32, 2), solver=sf.DDIM(), times=times, dtype=f64).x
        euler = sf.sample(exact, (32, 2), solver=sf.Euler(path=sf.EDM(sigma_max=1e4)), times=times, dtype=f64).x
        torch.testing.assert_close(euler, ddim, rtol=1e-8, atol=1e-8)


def test_heun_on_the_edm_path_is_karras_et_al_algorithm_1():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.EDM())
    sigmas = sf.EDM().sigma(grids.karras(sf.EDM(), 10, s_max=80.0)).tolist()
    start = 80 * torch.randn(16, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    x = start
    for a, b in itertools.pairwise(sigmas):
        d = (x - exact(x, a / 80)) / a
        y = x + (b - a) * d
        if b:
            y = x + (b - a) * (d + (y - exact(y, b / 80)) / b) / 2
        x = y
    times = grids.karras(sf.EDM(), 10, s_max=80.0)
    torch.testing.assert_close(sf.sample(exact, start, solver=sf.Heun(), times=times).x, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [sf.DDIM(), sf.DDPM(), sf.Euler(path=CIRCLE), sf.Heun(path=CIRCLE)], ids=repr)
def test_a_vp_model_rescaled_is_a_ve_model(solver):
    """The same s = sigma / alpha at every step and the same noise: x_VP / alpha = x_VE."""
    vp, ve = (sf.ExactDenoiser(eight_gaussians(), s) for s in (sf.VP(), sf.EDM(sigma_max=1e3)))
    s = torch.cat([torch.logspace(math.log10(50), -2, 20, dtype=f64), torch.zeros(1, dtype=f64)])
    times = [m.schedule.time_of_log_snr(-s.log()) for m in (vp, ve)]
    x = torch.randn(32, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    alpha, sigma = vp.schedule(times[0][0])
    a = sf.sample(vp, sigma * x, solver=solver, times=times[0]).x
    b = sf.sample(ve, sigma / alpha * x, solver=solver, times=times[1]).x
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_gaussian_data_is_solved_exactly_on_the_circle():
    """N(m, v I): one Euler step along the circle of the data's own std is the probability flow, whatever its length."""
    data = sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), 0.3**2, dtype=f64))
    exact = sf.ExactDenoiser(data, sf.VP())
    times = torch.tensor([0.95, 0.2], dtype=f64)
    x = torch.randn(8, 2, dtype=f64)
    (a, b), (c, d) = sf.VP()(times[0]), sf.VP()(times[1])
    flow = torch.hypot(0.3 * c, d) / torch.hypot(0.3 * a, b) * x
    torch.testing.assert_close(sf.sample(exact, x, solver=sf.Euler(path=CIRCLE), times=times).x, flow)
