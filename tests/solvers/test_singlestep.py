"""DPM-Solver and DPM-Solver++ singlestep against the papers' algorithms written out, and their exact cases."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians

f64 = torch.float64
NOISE_GRID = (0.9, 0.7, 0.55, 0.4)


def levels(schedule, log_snr):
    t = float(schedule.time_of_log_snr(torch.tensor(log_snr, dtype=f64)))
    return (t, *(float(c) for c in schedule(t)))


def dpm_solver(exact, x, t, s, order, r1):
    """Lu et al. (2022a), eq. 3.7 (order 1), algorithms 1 and 2 (orders 2 and 3), in the paper's letters."""
    schedule = exact.schedule
    (a_t, s_t), (a_s, s_s) = (tuple(float(c) for c in schedule(u)) for u in (t, s))
    start, h = math.log(a_t / s_t), math.log(a_s / s_s) - math.log(a_t / s_t)
    eps = sf.eps(exact, x, t)
    if order == 1:
        return a_s / a_t * x - s_s * math.expm1(h) * eps
    m1, a_1, s_1 = levels(schedule, start + r1 * h)
    u1 = a_1 / a_t * x - s_1 * math.expm1(r1 * h) * eps
    d1 = sf.eps(exact, u1, m1) - eps
    if order == 2:
        return a_s / a_t * x - s_s * math.expm1(h) * eps - s_s / (2 * r1) * math.expm1(h) * d1
    r2 = 2 / 3
    m2, a_2, s_2 = levels(schedule, start + r2 * h)
    second = s_2 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
    u2 = a_2 / a_t * x - s_2 * math.expm1(r2 * h) * eps - second
    d2 = sf.eps(exact, u2, m2) - eps
    return a_s / a_t * x - s_s * math.expm1(h) * eps - s_s / r2 * (math.expm1(h) / h - 1) * d2


def dpm_solver_pp(exact, x, t, s, order, r1):
    """Lu et al. (2022b), algorithm 1 (2S), and the order-3 analogue in the data prediction."""
    schedule = exact.schedule
    (a_t, s_t), (a_s, s_s) = (tuple(float(c) for c in schedule(u)) for u in (t, s))
    start, h = math.log(a_t / s_t), math.log(a_s / s_s) - math.log(a_t / s_t)
    x0 = exact(x, t)
    if order == 1:
        return s_s / s_t * x - a_s * math.expm1(-h) * x0
    m1, a_1, s_1 = levels(schedule, start + r1 * h)
    u1 = s_1 / s_t * x - a_1 * math.expm1(-r1 * h) * x0
    x0_1 = exact(u1, m1)
    if order == 2:
        d = (1 - 1 / (2 * r1)) * x0 + x0_1 / (2 * r1)
        return s_s / s_t * x - a_s * math.expm1(-h) * d
    r2 = 2 / 3
    m2, a_2, s_2 = levels(schedule, start + r2 * h)
    second = r2 / r1 * a_2 * (math.expm1(-r2 * h) / (r2 * h) + 1) * (x0_1 - x0)
    u2 = s_2 / s_t * x - a_2 * math.expm1(-r2 * h) * x0 + second
    return s_s / s_t * x - a_s * math.expm1(-h) * x0 + a_s / r2 * (math.expm1(-h) / h + 1) * (exact(u2, m2) - x0)


@pytest.mark.parametrize(("solver", "published"), [(sf.DPMSolver, dpm_solver), (sf.DPMSolverPPS, dpm_solver_pp)])
@pytest.mark.parametrize(
    ("order", "points"), [(1, ()), (2, (0.5,)), (2, (0.7,)), (3, (1 / 3, 2 / 3)), (3, (0.5, 2 / 3))]
)
@pytest.mark.parametrize("schedule", [sf.VP(), sf.Rectified(), sf.EDM()], ids=repr)
def test_a_step_is_the_published_formula(solver, published, order, points, schedule):
    exact = sf.ExactDenoiser(eight_gaussians(), schedule)
    x = start = torch.randn(16, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    for t, s in itertools.pairwise(NOISE_GRID):
        x = published(exact, x, t, s, order, points[0] if points else None)
    got = sf.sample(
        exact, start, solver=solver(order=order, points=points), times=torch.tensor(NOISE_GRID, dtype=f64)
    ).x
    torch.testing.assert_close(got, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [sf.DPMSolver(order=1), sf.DPMSolverPPS(order=1)], ids=repr)
def test_the_first_order_is_ddim(solver):
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    times = grids.uniform_log_snr(sf.VP(), 10)
    ddim = sf.sample(exact, (16, 2), solver=sf.DDIM(), times=times, dtype=f64).x
    got = sf.sample(exact, (16, 2), solver=solver, times=times, dtype=f64).x
    torch.testing.assert_close(got, ddim, rtol=1e-9, atol=1e-9)


class Constant(sf.Denoiser):
    """Knows the field exactly: the data are one point (`eps` False), or the noise is (True)."""

    schedule = sf.VP()

    def __init__(self, value, eps):
        super().__init__()
        self.value, self.eps = value, eps

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        return (x_t - sigma * self.value) / alpha if self.eps else self.value.expand_as(x_t)


@pytest.mark.parametrize(("solver", "eps"), [(sf.DPMSolver, True), (sf.DPMSolverPPS, False)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_where_the_field_is_constant_one_step_is_exact(solver, eps, order):
    """Data that are one point for the data prediction, noise that is one point for the other."""
    value = torch.tensor([0.3, -1.2], dtype=f64)
    denoiser = Constant(value, eps)
    times = torch.tensor([0.9, 0.05], dtype=f64)
    x = torch.randn(8, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    (a_t, s_t), (a_s, s_s) = sf.VP()(times[0]), sf.VP()(times[1])
    flow = a_s / a_t * (x - s_t * value) + s_s * value if eps else s_s / s_t * (x - a_t * value) + a_s * value
    got = sf.sample(denoiser, x, solver=solver(order=order), times=times).x
    torch.testing.assert_close(got, flow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [sf.DPMSolver(order=2), sf.DPMSolver(), sf.DPMSolverPPS()], ids=repr)
@pytest.mark.parametrize("nfe", range(1, 14))
def test_an_nfe_budget_is_used_up_by_a_low_order_finish(solver, nfe):
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    assert sf.sample(exact, (2, 2), solver=solver, nfe=nfe).nfe == nfe


@pytest.mark.parametrize("solver", [sf.DPMSolver(), sf.DPMSolverPPS()], ids=repr)
def test_a_grid_that_ends_in_noise_is_solved_to_its_end_within_the_budget(solver):
    """No step to sigma = 0: the data of this process are blurred at t = 0 already."""

    exact = sf.ExactDenoiser(eight_gaussians(), sf.VE(0.05, 30.0, from_zero=False))
    for nfe in range(3, 12):
        assert sf.sample(exact, (2, 2), solver=solver, nfe=nfe).nfe == nfe


def test_the_noise_prediction_is_refused_where_there_is_no_signal():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.Rectified())
    with pytest.raises(ValueError, match=r"DPMSolver: coefficient log_snr is not finite at t = 1"):
        sf.sample(exact, (2, 2), solver=sf.DPMSolver(), times=grids.uniform(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.DPMSolver(order=4), "DPMSolver: order must be 1, 2 or 3; got 4"),
        (lambda: sf.DPMSolverPPS(order=2, points=(0.2, 0.4)), "points must be 1 fractions of a step"),
        (lambda: sf.DPMSolver(points=(0.7, 2 / 3)), r"increasing inside \(0, 1\)"),
        (lambda: sf.DPMSolver(points=(0.3, 0.5)), r"points\[1\] must be 2/3"),
        (lambda: sf.DPMSolver(finish=3), "finish must be 0, or evaluations below the method's own 3"),
    ],
)
def test_impossible_settings_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
