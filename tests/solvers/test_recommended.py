"""The default sampler: at every number of evaluations, on every process; and the weights it is made of."""

import functools
import math
from itertools import pairwise
from statistics import fmean

import pytest
import torch
from scipy.integrate import quad

import scorefield as sf
from scorefield import grids
from scorefield.solvers import Kriging, recommended
from scorefield.solvers.constants import TABLE
from scorefield.solvers.recommended import constants, ratios

f64 = torch.float64
SEEDS = (0, 1, 2, 3)
SCHEDULES = [
    sf.VP(),
    sf.SubVP(),
    sf.EDM(sigma_max=80.0),
    sf.VE(from_zero=False),
    sf.Rectified(),
    sf.Cosine(),
    sf.Brownian(),
    sf.schedules.Discrete.linear(),
]


def mixture(seed, schedule):
    """Five anisotropic Gaussians in the plane: instances that nothing was fitted to."""
    g = torch.Generator().manual_seed(seed)
    std = 0.03 * (0.4 / 0.03) ** torch.rand(5, 2, generator=g, dtype=f64)
    turn = torch.linalg.qr(torch.randn(5, 2, 2, generator=g, dtype=f64))[0]
    means = torch.randn(5, 2, generator=g, dtype=f64)
    law = sf.GaussianMixture(torch.ones(5, dtype=f64) / 5, means, turn @ torch.diag_embed(std**2) @ turn.mT)
    return sf.ExactDenoiser(law, schedule)


@functools.cache
def problem(seed):
    """(denoiser, starts, the ends of the probability-flow ODE by Runge-Kutta of order 4)."""
    exact = mixture(seed, sf.VP())
    g = torch.Generator().manual_seed(100 + seed)
    alpha, sigma = exact.schedule(1.0)
    x = alpha * exact.distribution.sample(96, generator=g) + sigma * torch.randn(96, 2, generator=g, dtype=f64)
    times = grids.angular(exact.schedule, 400, power=2.5, scale=exact.data_std)
    return exact, x, sf.sample(exact, x, solver=sf.RK4(path=sf.Cosine(0.0)), times=times).x


@functools.cache
def median(nfe):
    """Of the distance to those ends, the geometric mean over four instances."""
    logs = []
    for exact, x, end in map(problem, SEEDS):
        logs.append(math.log(float((sf.sample(exact, x, nfe=nfe).x - end).norm(dim=1).median())))
    return math.exp(fmean(logs))


def test_every_evaluation_lowers_the_error():
    errors = [median(nfe) for nfe in range(1, 61)]
    rises = {n: b / a for n, (a, b) in enumerate(pairwise(errors), 2) if b > 1.02 * a}
    assert not rises


BEFORE = {
    2: 0.328,
    3: 0.17,
    5: 0.0862,
    8: 0.0196,
    10: 0.00804,
    12: 0.0034,
    15: 0.0014,
    17: 0.000899,
    18: 0.00127,
    20: 0.000852,
    25: 0.000364,
    30: 0.000176,
    40: 5.48e-05,
    60: 8.41e-06,
}


@pytest.mark.parametrize(("nfe", "before"), BEFORE.items())
def test_the_error_is_at_most_that_of_adams_methods_in_the_same_coordinates(nfe, before):
    """`before`: of the default of three Multistep methods by number of evaluations, on these instances."""
    assert median(nfe) < before


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("data_std", [0.1, 1.0, 13.0])
@pytest.mark.parametrize("nfe", [1, 2, 14, 60])
def test_the_grid_falls_from_the_process_s_beginning_to_its_end(schedule, data_std, nfe):
    _, times = recommended(schedule, nfe, data_std=data_std)
    assert (len(times), float(times[0]), float(times[-1])) == (nfe + 1, 1.0, 0.0)
    assert bool((times.diff() < 0).all())


def test_modest_noise_takes_the_part_of_a_longer_grid_that_it_covers():
    """Brownian motion ends at s = 1: its steps near the data are those of a full process of more evaluations."""
    _, times = recommended(sf.Brownian(), 12)
    s = sf.Brownian().noise_ratio(times)[:-1]
    full = min(range(13, 60), key=lambda n: abs(_ratios(n)[-2] - float(s[-1])))
    assert 20 < full < 35
    torch.testing.assert_close(s[-4:], torch.tensor(_ratios(full)[-5:-1], dtype=f64), rtol=0.1, atol=0)


def _ratios(nfe):
    return ratios(constants(nfe), torch.linspace(0, 1, nfe + 1, dtype=f64)).tolist()


@pytest.mark.parametrize("nfe", sorted(TABLE))
def test_constants_are_those_of_the_table_and_between_them_else(nfe):
    assert constants(nfe) == pytest.approx(TABLE[nfe], rel=1e-12)
    later = [n for n in TABLE if n > nfe]
    if later:
        low, high = TABLE[nfe], TABLE[min(later)]
        middle = constants(math.sqrt(nfe * min(later)))
        assert middle == pytest.approx([(a + b) / 2 for a, b in zip(low, high, strict=True)], rel=1e-9)


KRIGING = Kriging(near=0.02, far=0.5, width=0.3, tail=0.6, amplitude=(0.4, 0.7, 0.3), nugget=1e-4, nodes=2)


def test_the_weights_are_those_of_the_conditional_expectation():
    """Of each step's integral of F, predicted from two values and corrected with a third, by adaptive quadrature."""
    u = torch.tensor([0.98, 0.7, 0.5, 0.2, 0.0], dtype=f64)
    v = lambda p: math.exp(0.4 * p + 0.7 * p**2 + 0.3 * p**3)  # noqa: E731
    rho = lambda d: (1 + d**2 / (2 * 0.6 * 0.3**2)) ** -0.6  # noqa: E731

    def phi(at):
        s = math.tan(math.pi / 2 * at)
        return math.log((s + 0.02) / (s + 0.5))

    def expected(i, nodes):
        known = [phi(float(u[j])) for j in nodes]
        matrix = torch.tensor([[rho(a - b) + 1e-4 * (a == b) for b in known] for a in known], dtype=f64)
        points = [quad(lambda t, p=p: v(phi(t)) * rho(phi(t) - p), float(u[i]), float(u[i + 1]))[0] for p in known]
        solved = torch.linalg.solve(matrix, torch.tensor(points, dtype=f64)).tolist()
        return {j: w / v(p) for j, w, p in zip(nodes, solved, known, strict=True)}

    wanted = torch.zeros(4, 3, dtype=f64)
    for i in range(4):
        for j, w in expected(i, [j for j in (i, i - 1) if j >= 0]).items():
            wanted[i, i - j] += w
        if i > 0:
            for j, w in expected(i - 1, [j for j in (i, i - 1, i - 2) if j >= 0]).items():
                wanted[i, i - j] += w
            for j, w in expected(i - 1, [j for j in (i - 1, i - 2) if j >= 0]).items():
                wanted[i, i - j] -= w
    torch.testing.assert_close(KRIGING.weights(u), wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("nfe", [2, 5, 14])
def test_gaussian_data_keep_mean_and_std(schedule, nfe):
    solver, times = recommended(schedule, nfe, data_std=0.6)
    bias = sf.discretisation_bias(solver, schedule, times, data_std=0.6)
    assert bias == pytest.approx((1.0, 1.0), rel=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"near": 0.0}, {"far": 0.02}, {"width": 0.0}, {"tail": -1.0}, {"nugget": 0.0}, {"nodes": 0}],
)
def test_parameters_that_make_no_process_are_refused(wrong):
    good = {"near": 0.02, "far": 0.5, "width": 0.3, "tail": 0.6, "amplitude": (), "nugget": 1e-4}
    with pytest.raises(ValueError, match="Kriging: near must be positive and below far"):
        Kriging(**(good | wrong))
