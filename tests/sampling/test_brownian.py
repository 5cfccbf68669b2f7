"""Noise that is one Brownian path whatever the grid: its law, its bits, and samples that converge one by one."""

import itertools

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.randomness import BrownianMotion, Noise

f64 = torch.float64
LAW = sf.GaussianMixture(
    torch.tensor([0.5, 0.5], dtype=f64),
    torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=f64),
    torch.full((2, 2), 0.1, dtype=f64),
)
SOLVERS = [sf.DDPM(), sf.DDIM(eta=0.6), sf.EulerMaruyama(), sf.SASolver(), sf.DPMSolverPP(eta=1.0), sf.AnalyticDPM()]
TIMES = [1e-12, 3e-10, 1e-6, 0.1, 0.1001, 0.5, 0.75, 1.0, 1.3, 2.7, 100.0, 2.5e5]


def motion(n=4000, event=(), dtype=f64, first=0, seed=0):
    return BrownianMotion(Noise(seed, torch.arange(first, first + n), event, dtype))


def test_increments_are_independent_normals_of_the_variance_they_should_have():
    """4000 paths: variances within 5 standard errors, sqrt(2 / 4000), and correlations, 1 / sqrt(4000)."""
    w = motion()
    nodes = [w.node(u) for u in TIMES]
    us = torch.tensor([0.0, *(w.time(node) for node in nodes)], dtype=f64)
    torch.testing.assert_close(us[1:], torch.tensor(TIMES, dtype=f64), rtol=2.0**-20, atol=2.0**-53)
    path = torch.stack([torch.zeros(4000, dtype=f64), *(w(node) for node in nodes)])
    z = path.diff(dim=0) / us.diff().sqrt()[:, None]
    assert float((z.square().mean(1) - 1).abs().max()) < 5 * (2 / 4000) ** 0.5
    correlation = z @ z.T / 4000 - torch.diag(z.square().mean(1))
    assert float(correlation.abs().max()) < 5 / 4000**0.5
    assert float((z**4).mean(1).sub(3).abs().max()) < 5 * (96 / 4000) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, f64, torch.bfloat16], ids=str)
def test_the_path_is_a_function_of_seed_and_sample_alone(dtype):
    w = motion(40, (3,), dtype)
    here = {u: w(w.node(u)) for u in TIMES}
    assert here[1.0].dtype == (f64 if dtype == f64 else torch.float32)
    for u in reversed(TIMES):  # asked for in another order, of fewer samples
        other = motion(7, (3,), dtype, first=20)
        assert torch.equal(other(other.node(u)), here[u][20:27])
    assert not torch.equal(motion(40, (3,), dtype, seed=1)((40, 5)), w((40, 5)))
    with pytest.raises(ValueError, match=r"u must lie in \[0, 2\^95\); got inf"):
        w.node(float("inf"))


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(), sf.Rectified()], ids=lambda s: type(s).__name__)
def test_runs_with_more_steps_are_near_each_other_the_nearer_the_more(solver, schedule):
    """The distance of a sample at N and at 2 N steps falls as 1 / N: noise that is added has strong order 1.

    Medians, for near the middle between two modes a path may end in either. Without it, the noise of two grids is two
    draws, and the samples are as far apart as any two.
    """
    exact = sf.ExactDenoiser(LAW, schedule)

    def run(steps, brownian=True):
        times = grids.uniform_log_snr(schedule, steps, s_max=80.0)
        return sf.sample(exact, (400, 2), solver=solver, times=times, dtype=f64, brownian=brownian).x

    made = [run(steps) for steps in (50, 100, 200, 400)]
    apart = [float((a - b).norm(dim=1).median()) for a, b in itertools.pairwise(made)]
    assert apart[1] < 0.04
    assert all(0.35 < fine / coarse < 0.65 for coarse, fine in itertools.pairwise(apart))
    assert float((run(100, False) - run(200, False)).norm(dim=1).median()) > 0.2


def test_the_law_of_the_samples_is_that_of_independent_noise():
    """On Gaussian data the steps' own std is known, whatever the noise: within 5 standard errors of 20,000 samples."""
    law = sf.Gaussian(torch.zeros(1, dtype=f64), torch.ones(1, dtype=f64))
    exact = sf.ExactDenoiser(law, sf.VP())
    for solver, steps in ((sf.DDPM(), 6), (sf.EulerMaruyama(), 60), (sf.StochasticAdams(), 9)):
        times = grids.uniform_log_snr(sf.VP(), steps)
        made = sf.sample(exact, (20000, 1), solver=solver, times=times, brownian=True, dtype=f64)
        assert float(made.x.std()) == pytest.approx(made.bias.std, rel=5 / (2 * 20000) ** 0.5)
        assert abs(float(made.x.mean())) < 5 / 20000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("solver", [*SOLVERS, sf.StochasticAdams()], ids=lambda s: type(s).__name__)
def test_a_sample_is_the_same_alone_and_in_chunks(solver, dtype):
    exact = sf.ExactDenoiser(LAW, sf.VP())
    options = {"solver": solver, "nfe": 12, "dtype": dtype, "brownian": True, "seed": 3}
    whole = sf.sample(exact, (60, 2), **options).x
    assert torch.equal(sf.sample(exact, (60, 2), chunk=7, **options).x, whole)
    assert torch.equal(sf.sample(exact, (5, 2), first_index=30, **options).x, whole[30:35])
    assert torch.equal(sf.sample(exact, (60, 2), exact=True, **options).x, whole)


def test_steps_in_parallel_see_the_same_path():
    exact = sf.ExactDenoiser(LAW, sf.VP())
    options = {"times": grids.uniform_log_snr(sf.VP(), 30), "dtype": f64, "brownian": True}
    parallel = sf.sample(exact, (20, 2), solver=sf.Picard(sf.DDPM(), tolerance=0.0), **options).x
    torch.testing.assert_close(parallel, sf.sample(exact, (20, 2), solver=sf.DDPM(), **options).x, rtol=0, atol=1e-12)


def test_steps_too_short_to_be_told_apart_take_noise_of_their_own():
    exact = sf.ExactDenoiser(LAW, sf.VP())
    times = torch.tensor([0.5, 0.5 - 1e-9, 0.4, 0.0], dtype=f64)
    assert bool(sf.sample(exact, (4, 2), solver=sf.DDPM(), times=times, brownian=True).x.isfinite().all())


@pytest.mark.parametrize("solver", [sf.PredictorCorrector(), sf.AnnealedLangevin(), sf.Churn(), sf.AdaptiveSDE()])
def test_solvers_with_other_noise_are_refused(solver):
    with pytest.raises(ValueError, match=rf"brownian: {type(solver).__name__} has other noise than one draw a step"):
        sf.sample(sf.ExactDenoiser(LAW, sf.VP()), (2, 2), solver=solver, brownian=True)
