"""Guided denoisers against the denoiser of the posterior, in closed form."""

import math
from typing import Any

import pytest
import torch
from posterior_cases import condition, exact, f64, gaussian, likelihood, mixture, normal, posterior

import scorefield as sf
from rounding import carried, same
from scorefield.inverse import DDNM, DiffPIR, Guidance, MomentMatching, PiGDM

ROWS = torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(sigma_max=10.0), sf.Rectified()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 0.99])
def test_moment_matching_is_the_denoiser_of_the_posterior_for_gaussian_data(t, schedule):
    law = gaussian()
    given = likelihood(law)
    reached = []
    guided = MomentMatching(exact(law, schedule), given, tolerance=1e-10, report=reached.append)
    alpha, sigma = schedule(t)
    x_t = alpha * normal(5, 4, seed=7) + sigma * normal(5, 4, seed=8)
    got = guided(x_t, t, observation=ROWS)
    for i in range(5):
        want = posterior(law, given, int(ROWS[i])).denoise(x_t[i : i + 1], alpha, sigma)
        torch.testing.assert_close(got[i : i + 1], want, rtol=0, atol=1e-6)
    assert float(torch.stack(reached).max()) <= 1e-10


@pytest.mark.rounding
@pytest.mark.parametrize("own_noise", [False, True], ids=["one noise", "each its own"])  # by eigenvalues, by iterations
@pytest.mark.parametrize("kind", [MomentMatching, PiGDM, DiffPIR, DDNM])
def test_each_row_may_have_its_own_time_and_its_own_observation(kind, own_noise):
    law = gaussian()
    noise = torch.tensor([[0.3, 0.2], [0.1, 0.4]], dtype=f64)
    given, x_t = likelihood(law, noise=noise) if own_noise else likelihood(law), normal(2, 4)
    guided = kind(exact(law), given)
    t = torch.tensor([0.3, 0.6], dtype=f64)
    got = guided(x_t, t, observation=torch.arange(2))
    bound = carried(lambda: guided(x_t, t, observation=torch.arange(2)), 4, f64)  # in 4-D
    for i in range(2):
        same(guided(x_t[i : i + 1], t[i], observation=torch.tensor([i]))[0], got[i], bound)


def test_any_solver_samples_the_posterior_of_gaussian_data_under_moment_matching():
    """Mean to 4.5 standard errors of 2,000 and 0.02 for the solver."""
    law, n = gaussian(), 2000
    given = likelihood(law)
    for solver in (None, sf.Heun(), sf.StochasticAdams()):
        drawn = condition(exact(law), given, Guidance(MomentMatching, solver=solver)).sample(n, nfe=40)
        assert float(drawn.residual.max()) < 1e-3
        for i in range(2):
            truth = posterior(law, given, i)
            spread = truth.variance.sqrt()
            assert float(((drawn.mean[i] - truth.mean) / spread).abs().max()) < 4.5 / math.sqrt(n) + 0.02
            assert float((drawn.std[i] / spread - 1).abs().max()) < 4.5 / math.sqrt(2 * n) + 0.03


def test_the_others_are_what_their_covariances_make_of_them():
    """D + C1 A^T (A C2 A^T + S)^-1 (y - A D) written out."""
    law, t, each = mixture(), 0.4, torch.arange(2)
    given, denoiser, x_t = likelihood(law), exact(law), normal(2, 2)
    alpha, sigma = (float(v) for v in denoiser.schedule(t))
    a, s = given.operator.matrix, given.noise_std**2
    x0 = denoiser(x_t, t)
    tweedie = law.posterior_covariance(x_t, alpha, sigma)
    v = denoiser.data_std**2
    gaussian_variance, ratio = v * sigma**2 / (alpha**2 * v + sigma**2), (sigma / alpha) ** 2
    eye = torch.eye(2, dtype=f64)
    cases = {
        MomentMatching: (tweedie, tweedie),
        PiGDM: (tweedie, gaussian_variance * eye),
        DiffPIR: (ratio * eye, ratio * eye),
    }
    for kind, (first, second) in cases.items():
        k = a @ second @ a.T + s * torch.eye(1, dtype=f64)
        r = (given.y - x0 @ a.T)[..., None]
        want = x0 + (first @ a.T @ torch.linalg.solve(k, r))[..., 0]
        options: dict[str, Any] = {"tolerance": 1e-10} if kind is MomentMatching else {}
        torch.testing.assert_close(
            kind(denoiser, given, **options)(x_t, t, observation=each), want, rtol=1e-8, atol=1e-8
        )
    assert float((given.y - DDNM(denoiser, given)(x_t, t, observation=each) @ a.T).abs().max()) < 1e-8


def test_a_guided_denoiser_carries_what_solvers_ask_of_it():
    denoiser = exact(gaussian())
    guided = PiGDM(denoiser, likelihood(gaussian()))
    assert guided.schedule == denoiser.schedule
    assert guided.data_std == denoiser.data_std
    assert guided.data_mean is denoiser.data_mean
    same = sf.sample(guided, (2, 4), nfe=6, cond={"observation": torch.tensor([1, 1])}, dtype=f64).x
    assert same.shape == (2, 4)
