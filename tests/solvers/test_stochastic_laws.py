"""The law that stochastic samplers draw from, on a mixture in one dimension, without a sample.

A sampler's step from x with the normals z ends at step_i(x, z), so the expectation of f at the end, as a function of
where the sampler stands before step i, is found from the last step to the first:

    u_i(x) = E_z u_{i+1}(step_i(x, z)),    u_N = f,

by quadrature over z and cubic splines in x, on the library's own steps. E u_0 over the start is E f(x_0).
"""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

import scorefield as sf
from scorefield import grids

f64 = torch.float64
MIXTURE = sf.GaussianMixture(
    torch.tensor([0.5, 0.3, 0.2], dtype=f64),
    torch.tensor([[-1.0], [0.4], [1.2]], dtype=f64),
    torch.tensor([[0.2], [0.15], [0.25]], dtype=f64) ** 2,
)
VP, EDM = sf.VP(), sf.EDM(0.002, 30.0)
SAMPLERS = [
    (VP, sf.DDPM()),
    (VP, sf.DDPM(large_variance=True)),
    (VP, sf.DDIM(eta=1.0)),
    (VP, sf.DDIM(eta=0.5)),
    (VP, sf.EulerMaruyama()),
    (VP, sf.PredictorCorrector()),
    # posterior steps are the same on every schedule, up to scale (test_exact_answers); Euler's are not
    (EDM, sf.EulerMaruyama()),
    (EDM, sf.PredictorCorrector()),
]
FREQUENCIES = torch.arange(1, 9, dtype=f64)  # an eighth is less than the narrowest mode's standard deviation


def functions(x: Tensor) -> Tensor:
    """What tells one law from another: the shares of the modes, two moments, the characteristic function. `(N, F)`."""
    waves = x * FREQUENCIES
    return torch.cat([MIXTURE.responsibilities(x), x, x**2, waves.cos(), waves.sin()], 1)


def line(schedule: sf.Schedule, t: Tensor) -> Tensor:
    """Points that hold x_t but for 1e-8 of it."""
    alpha, sigma = (float(c) for c in schedule(t))
    return torch.linspace(-1, 1, 301, dtype=f64) * (3 * alpha + 6 * sigma)


def hermite(draws: int) -> tuple[Tensor, Tensor]:
    """Nodes `(Q, draws)` and weights `(Q,)` of independent standard normals."""
    node, weight = np.polynomial.hermite_e.hermegauss(10 if draws < 2 else 6)
    nodes, weights = (
        torch.tensor(list(itertools.product(a, repeat=draws)), dtype=f64).reshape(-1 if draws else 1, draws)
        for a in (node, weight / weight.sum())
    )
    return nodes, weights.prod(1)


def noted(draws: list[int]) -> Callable[[int], Tensor]:
    """Normals that are 0, and which of them were asked for."""

    def normals(k: int) -> Tensor:
        draws.append(k)
        return torch.zeros(1, 1, dtype=f64)

    return normals


def expectations(schedule: sf.Schedule, solver: sf.Solver, times: Tensor) -> Tensor:
    """Of `functions`, over what the solver samples: `(F,)`."""
    exact = sf.ExactDenoiser(MIXTURE, schedule)

    def stepped(step, x: Tensor, normals: Callable[[int], Tensor]) -> Tensor:
        return solver.step(lambda x_t, t, rows=None: exact(x_t, t), solver.init(x), step, normals).x

    after = line(schedule, times[-1])
    u = functions(after[:, None])
    for step in reversed(solver.plan(exact, times)):
        draws: list[int] = []
        stepped(step, torch.zeros(1, 1, dtype=f64), noted(draws))
        nodes, weights = hermite(len(draws))
        before = line(schedule, step.t)
        z = dict(zip(draws, nodes.repeat(len(before), 1).T[..., None], strict=True))
        x = stepped(step, before.repeat_interleave(len(nodes))[:, None], z.__getitem__)[:, 0]
        values = torch.from_numpy(CubicSpline(after, u)(x.clamp(after[0], after[-1])))
        u, after = torch.einsum("q,xqf->xf", weights, values.reshape(len(before), len(nodes), -1)), before
    mean, std = schedule.prior(times[0], mean=float(exact.data_mean), std=exact.data_std)
    start = torch.exp(-((after - mean) ** 2) / (2 * std**2))
    return start / start.sum() @ u


@pytest.fixture(scope="module")
def truth() -> Tensor:
    x = torch.linspace(-4, 4, 8001, dtype=f64)[:, None]
    density = MIXTURE.log_prob(x).exp()
    return density / density.sum() @ functions(x)


def errors(schedule: sf.Schedule, solver: sf.Solver, truth: Tensor) -> list[Tensor]:
    """Of the expectations, in 60 steps and in 120."""
    return [expectations(schedule, solver, grids.uniform_log_snr(schedule, n, s_max=30.0)) - truth for n in (60, 120)]


@pytest.mark.parametrize(("schedule", "solver"), SAMPLERS, ids=repr)
def test_stochastic_solvers_converge_to_the_law_of_the_mixture(schedule, solver, truth):
    """Errors of every expectation halve with the steps, and extrapolated to none are 0 to 5e-3 (measured: 2e-3).

    The predictor-corrector's fall faster than that in so few steps, by 2.6, and 5e-3 is its extrapolation.
    """
    coarse, fine = errors(schedule, solver, truth)
    assert float(coarse.norm() / fine.norm()) > 1.9
    assert float((2 * fine - coarse).abs().max()) < 5e-3
    assert float(fine.abs().max()) < 0.03


def test_annealed_langevin_comes_nearer_to_the_weights_the_longer_it_runs(truth):
    """It crosses between modes at high noise only, and lags behind the falling noise: no order is claimed."""
    coarse, fine = (e[:3].abs().sum() / 2 for e in errors(VP, sf.AnnealedLangevin(steps_per_level=2), truth))
    assert float(fine) < 0.8 * float(coarse)
    assert float(fine) < 0.02
