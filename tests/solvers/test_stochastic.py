"""Noise in multistep methods: its amount, its place, and the accuracy that is left."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids, solvers
from scorefield.metrics import sliced_wasserstein
from scorefield.solvers.base import Coordinate

f64 = torch.float64
CIRCLE = sf.Cosine(alpha_min=0.0)


@pytest.mark.parametrize("path", [CIRCLE, sf.Rectified(), sf.EDM(sigma_max=1e4), sf.VP(), None], ids=repr)
@pytest.mark.parametrize("eta", [0.4, 1.0, 1.5])
def test_the_noise_of_a_step_is_the_integral_of_the_sde(path, eta):
    """int 2 eta^2 b^2 (a / a_s)^(2 eta^2) dlambda by the trapezoid rule: Ito's isometry on dz = ... + eta g dw."""
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), torch.full((1,), 0.25, dtype=f64)), sf.EDM())
    times = grids.uniform_log_snr(sf.EDM(), 9, s_max=40.0, s_min=0.05)[:-1]
    exactly = solvers.PathVelocity(path).on_grid(exact, times, torch.full((len(times) - 1,), eta, dtype=f64))
    at, process = Coordinate.of(path, exact, times), path or sf.EDM()
    for i in range(len(times) - 1):
        a, b = process(torch.linspace(float(at.u[i]), float(at.u[i + 1]), 100_001, dtype=f64))
        variance = torch.trapezoid(2 * eta**2 * b**2 * (a / a[-1]) ** (2 * eta**2), torch.log(a / b))
        assert float(exactly.noise[i] * at.scale[i + 1]) == pytest.approx(float(variance.sqrt()), rel=1e-7)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified()], ids=repr)
def test_first_order_data_prediction_with_eta_one_is_ddpm(schedule):
    exact = sf.ExactDenoiser(sf.distributions.eight_gaussians(), schedule)
    times = grids.uniform_log_snr(schedule, 12, s_max=50.0)
    sde = sf.Multistep(1, solvers.DataPrediction(), corrector=False, eta=1.0)
    a, b = (sf.sample(exact, (32, 2), solver=s, times=times, dtype=f64).x for s in (sde, sf.DDPM()))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_noise_is_that_of_eta_and_not_of_its_float32():
    schedule, eta = sf.VP(), 0.6
    exact = sf.ExactDenoiser(sf.distributions.eight_gaussians(), schedule)
    t, s = torch.tensor([0.5, 0.3], dtype=f64)
    (step,) = sf.Multistep(1, solvers.DataPrediction(), corrector=False, eta=eta).plan(exact, torch.stack([t, s]))
    h = float(schedule.log_snr(s) - schedule.log_snr(t))
    noise = float(schedule.sigma(s)) * math.sqrt(-math.expm1(-2 * eta**2 * h))
    assert step.coefficients.noise == pytest.approx(noise, rel=1e-12)


def test_all_fields_are_one_sde_as_steps_shrink():
    """The same noise in all of them: strong order 1 or better, so 4 times the steps leave at most 1/3 of the gap."""
    exact = sf.ExactDenoiser(sf.Gaussian(torch.full((2,), 0.4, dtype=f64), torch.full((2,), 0.3, dtype=f64)), sf.VP())
    fields = [solvers.NoisePrediction(), *map(solvers.PathVelocity, (CIRCLE, sf.Rectified(), None))]
    x = torch.randn(256, 2, dtype=f64, generator=torch.Generator().manual_seed(0))

    def ends(field: solvers.Field, n: int) -> torch.Tensor:
        solver = sf.Multistep(1, field, corrector=False, eta=0.8)
        return sf.sample(exact, x, solver=solver, times=grids.uniform(n, t_max=0.8, t_min=0.2)).x

    for field in fields:
        coarse, fine = ((ends(field, n) - ends(solvers.DataPrediction(), n)).square().mean().sqrt() for n in (25, 100))
        assert 0 < fine < coarse / 3, field


def test_below_quiet_the_step_is_the_odes():
    """The plan has noise above the ratio and none below; a quiet above the grid is the ODE to the last bit."""
    exact = sf.ExactDenoiser(sf.distributions.eight_gaussians(), sf.EDM())
    exact.data_std = 0.3  # the unit of `quiet`
    times = grids.uniform_log_snr(sf.EDM(), 16, s_max=50.0)
    plan = sf.StochasticAdams(quiet=0.7).plan(exact, times)
    ratio = (sf.EDM().noise_ratio(times[1:]) / exact.data_std).tolist()
    assert [step.coefficients.noise > 0 for step in plan] == [r >= 0.7 for r in ratio]
    a, b = (sf.sample(exact, (8, 2), solver=s, times=times).x for s in (sf.StochasticAdams(quiet=1e3), sf.Multistep()))
    assert torch.equal(a, b)


N = 16_384


@pytest.fixture(scope="module")
def target() -> sf.GaussianMixture:
    """Eight components 0.04 to 0.4 wide, of unequal weights."""
    g = torch.Generator().manual_seed(4)
    weights = torch.rand(8, generator=g, dtype=f64) + 0.2
    stds = 0.04 * 10 ** torch.rand(8, 2, generator=g, dtype=f64)
    return sf.GaussianMixture(weights / weights.sum(), 1.2 * torch.randn(8, 2, generator=g, dtype=f64), stds**2)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM()], ids=repr)
def test_twelve_evaluations_reach_the_monte_carlo_floor(schedule, target):
    """Four seeds: sliced W2 within 1.2 times its floor, mode weights within 2% in total variation; DDPM's is 10%."""
    g = torch.Generator().manual_seed(0)
    sets = [target.sample(N, generator=g) for _ in range(7)]
    distance = lambda x, y: sliced_wasserstein(x, y, projections=64)  # noqa: E731
    floor = sum(distance(sets[0], y) for y in sets[1:]) / 6
    exact = sf.ExactDenoiser(target, schedule)

    def errors(solver: sf.Solver) -> tuple[float, float]:
        drawn = [sf.sample(exact, (N, 2), solver=solver, nfe=12, seed=k).x for k in range(4)]
        weights = [target.responsibilities(x).mean(0) for x in drawn]
        return (
            sum(distance(x, y) for x, y in zip(drawn, sets[1:5], strict=True)) / 4 / floor,
            sum(float((w - target.weights).abs().sum() / 2) for w in weights) / 4,
        )

    near, modes = errors(sf.StochasticAdams())
    assert near < 1.2
    assert modes < 0.02
    far, wrong = errors(sf.DDPM())
    assert far > 2 * near
    assert wrong > 3 * modes
