"""Adaptive integration: exact solutions, errors in proportion to the tolerance, samples that do not see each other."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians
from scorefield.solvers.adaptive import Integrated, integrate, rms
from scorefield.solvers.tableaus import BOGACKI_SHAMPINE, CLASSICAL, DORMAND_PRINCE

f64 = torch.float64
CIRCLE = sf.Cosine(alpha_min=0.0)
PAIRS = [BOGACKI_SHAMPINE, DORMAND_PRINCE]
NAMES = ["BOGACKI_SHAMPINE", "DORMAND_PRINCE"]
FREQUENCY = torch.logspace(-1, 0.8, 7, dtype=f64)


def rotation(x, u, rows):
    """dx/du = w u (-x_2, x_1): an angle of w u^2 / 2, each sample at a frequency of its own."""
    return (FREQUENCY[rows] * u)[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)


def turned(x, start, end):
    angle = FREQUENCY * (end**2 - start**2) / 2
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], 1)


@pytest.fixture
def start() -> torch.Tensor:
    return torch.randn(7, 2, dtype=f64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tableau", PAIRS, ids=NAMES)
def test_the_error_of_every_sample_is_proportional_to_the_tolerance(tableau, start):
    """Frequencies differ 60-fold, errors are at most 30 tolerances. Where steps are many, the power is 1 within 0.2."""
    tolerances, errors = [1e-4, 1e-7], []
    for tolerance in tolerances:
        got = integrate(rotation, start, 0.0, 2.0, rtol=0.0, atol=tolerance, tableau=tableau, max_steps=3000).x
        errors.append(rms(got - turned(start, 0.0, 2.0)))
        assert float(errors[-1].max()) < 30 * tolerance
    power = (errors[0] / errors[1]).log10() / 3
    assert bool(((power[4:] - 1).abs() < 0.2).all())


@pytest.mark.parametrize("tableau", PAIRS, ids=NAMES)
def test_harder_samples_take_more_evaluations_and_the_others_do_not_wait(tableau, start):
    asked = torch.zeros(7, dtype=torch.int64)

    def counted(x, u, rows):
        asked[rows] += 1
        return rotation(x, u, rows)

    result = integrate(counted, start, 0.0, 2.0, rtol=1e-6, atol=1e-6, tableau=tableau)
    assert torch.equal(asked, result.evaluations)
    assert bool((result.evaluations.diff() >= 0).all())
    assert result.evaluations[-1] > 5 * result.evaluations[0]


@pytest.mark.parametrize("tableau", PAIRS, ids=NAMES)
def test_there_and_back_again(tableau, start):
    there = integrate(rotation, start, 0.0, 2.0, rtol=1e-7, atol=1e-7, tableau=tableau).x
    back = integrate(rotation, there, 2.0, 0.0, rtol=1e-7, atol=1e-7, tableau=tableau).x
    torch.testing.assert_close(back, start, rtol=0, atol=1e-5)


def test_every_sample_may_have_ends_of_its_own(start):
    begin = torch.linspace(0, 1, 7, dtype=f64)
    end = torch.tensor([1.0, 0.0, 0.5, 0.5, 1.5, 2.0, 0.0], dtype=f64)  # one forwards, one backwards, one nowhere
    result = integrate(rotation, start, begin, end, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.x, turned(start, begin, end), rtol=0, atol=1e-7)
    assert result.evaluations[3] == 0
    assert torch.equal(result.x[3], start[3])


def test_an_integration_goes_on_where_another_ended_and_pays_nothing_for_it(start):
    whole = integrate(rotation, start, 0.0, 2.0, rtol=1e-8, atol=1e-8)
    first = integrate(rotation, start, 0.0, 1.0, rtol=1e-8, atol=1e-8)
    second = integrate(rotation, first.x, 1.0, 2.0, rtol=1e-8, atol=1e-8, control=first.control)
    torch.testing.assert_close(second.x, turned(start, 0.0, 2.0), rtol=0, atol=1e-6)
    # no first evaluation again, no search for a step again
    afresh = integrate(rotation, first.x, 1.0, 2.0, rtol=1e-8, atol=1e-8)
    assert bool((second.evaluations < afresh.evaluations).all())
    # the node costs three steps at most: those that it cuts short
    assert bool((first.evaluations + second.evaluations - whole.evaluations <= 3 * 6).all())


def test_a_state_and_its_log_density_are_integrated_together():
    """dx/du = -a x, dlog p/du = a d of a Gaussian, each within its own tolerance: a norm that takes the larger."""
    a, d = 1.3, 5
    x = torch.randn(4, d, dtype=f64, generator=torch.Generator().manual_seed(0))

    def flow(state, u, rows):
        return torch.cat([-a * state[:, :d], torch.full((len(state), 1), a * d, dtype=f64)], 1)

    def parts(error):
        return torch.maximum(rms(error[:, :d]), error[:, d].abs())

    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    result = integrate(flow, torch.cat([x, log_p[:, None]], 1), 0.0, 1.0, rtol=1e-9, atol=1e-9, norm=parts)
    y = result.x[:, :d]
    exact = torch.distributions.Normal(0.0, math.exp(-a)).log_prob(y).sum(1)
    torch.testing.assert_close(y, math.exp(-a) * x, rtol=0, atol=1e-7)
    torch.testing.assert_close(result.x[:, d], exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, f64])
@pytest.mark.parametrize("tableau", PAIRS, ids=NAMES)
def test_a_sample_is_the_same_to_the_bit_alone_and_among_others(tableau, dtype):
    """Its steps, its evaluations and its value, while others are dropped at every length of the batch."""
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    solver = sf.Adaptive(tableau=tableau)
    whole = sf.sample(exact, (101, 2), solver=solver, seed=7, dtype=dtype)
    assert whole.evaluations is not None
    assert len(whole.evaluations.unique()) > 3  # else nothing has been dropped
    for i in (0, 1, 50, 100):
        alone = sf.sample(exact, (1, 2), solver=solver, seed=7, first_index=i, dtype=dtype)
        assert torch.equal(alone.x[0], whole.x[i])
        assert alone.nfe == whole.evaluations[i]
    chunks = sf.sample(exact, (101, 2), solver=solver, seed=7, chunk=13, dtype=dtype)
    assert torch.equal(chunks.x, whole.x)
    assert chunks.evaluations is not None
    assert torch.equal(chunks.evaluations, whole.evaluations)
    assert chunks.nfe == whole.nfe == whole.evaluations.max()


@pytest.mark.parametrize(
    "schedule", [sf.VP(), sf.EDM(), sf.Rectified(), sf.Discrete.linear()], ids=lambda s: type(s).__name__
)
def test_every_process_is_solved_from_noise_to_data_without_a_grid(schedule):
    """Against 1,000 steps of RK4, uniform in the angle: the median error is within 10 tolerances."""
    exact = sf.ExactDenoiser(eight_gaussians(), schedule)
    a, b = CIRCLE(torch.linspace(0.999, 0, 1001, dtype=f64))
    fine = schedule.time_of_log_snr(torch.log(a / b))
    fine = fine[fine < 1]
    alpha, sigma = schedule(fine[0])
    noise = torch.randn(32, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    start = torch.hypot(alpha * exact.data_std, sigma) * noise
    truth = sf.sample(exact, start, solver=sf.RK4(path=CIRCLE), times=fine).x
    for tolerance in (1e-3, 1e-5):
        solver = sf.Adaptive(rtol=tolerance, atol=tolerance, tableau=DORMAND_PRINCE)
        got = sf.sample(exact, start, solver=solver, times=fine[[0, -1]]).x
        assert float(rms((got - truth) / exact.data_std).median()) < 10 * tolerance


def test_what_the_last_step_leaves_out_is_half_s_min_squared_times_the_score():
    """x0 - E[x0 | x_s] = -s^2 score(x0) / 2 to leading order, for Gaussian data of std 0.1 read at data_std 1."""
    data = sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), 0.01, dtype=f64))
    exact = sf.ExactDenoiser(data, sf.EDM())
    exact.data_std = 1.0
    x = torch.randn(64, 2, dtype=f64, generator=torch.Generator().manual_seed(0)) * 80
    truth = 0.1 / math.hypot(0.1, 80.0) * x
    for s_min in (1e-2, 2e-3):
        got = sf.sample(exact, x, solver=sf.Adaptive(rtol=1e-11, atol=1e-11, tableau=DORMAND_PRINCE, s_min=s_min)).x
        torch.testing.assert_close(got - truth, s_min**2 / 2 * data.score(truth), rtol=0.02, atol=1e-9)


def test_on_the_circle_gaussian_data_take_no_more_steps_than_the_growth_of_a_step_allows():
    """A velocity of zero: 1/20 of the way, then ten times as much, and the rest in two."""
    data = sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), 0.3**2, dtype=f64))
    result = sf.sample(sf.ExactDenoiser(data, sf.VP()), (16, 2), solver=sf.Adaptive(), dtype=f64)
    assert result.nfe <= 1 + 4 * 3


def test_nodes_between_the_ends_report_the_solution_and_change_nothing():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    solver = sf.Adaptive(rtol=1e-7, atol=1e-7, tableau=DORMAND_PRINCE)
    times = grids.uniform_log_snr(sf.VP(), 6, s_max=50.0)
    dense = sf.sample(exact, (16, 2), solver=solver, times=times, trajectory=True, dtype=f64)
    ends = sf.sample(exact, (16, 2), solver=solver, times=times[[0, -1]], dtype=f64)
    torch.testing.assert_close(dense.x, ends.x, rtol=0, atol=2e-5)
    assert dense.trajectory is not None
    for k in (2, 4):
        there = sf.sample(exact, (16, 2), solver=solver, times=times[[0, k]], dtype=f64).x
        scale = float(torch.hypot(*sf.VP()(times[k])))
        torch.testing.assert_close(dense.trajectory[k], there, rtol=0, atol=2e-5 * scale)


def test_the_preview_is_the_denoisers_answer_at_every_node():
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    times = torch.tensor([0.9, 0.5, 0.2], dtype=f64)
    seen = []
    sf.sample(exact, (8, 2), solver=sf.Adaptive(), times=times, dtype=f64, callback=lambda *args: seen.append(args))
    for s, x, x0 in seen:
        torch.testing.assert_close(x0, exact(x, s), rtol=1e-9, atol=1e-9)


def test_conditions_go_with_the_samples_that_are_left():
    class Scaled(sf.Denoiser):
        """Data N(0, width^2), a width for each sample."""

        schedule = sf.VP()

        def forward(self, x_t, t, *, width, check):
            alpha, sigma = (c.expand(len(x_t)) for c in self.schedule(t))
            assert check == "shared"
            return (alpha * width**2 / (alpha**2 * width**2 + sigma**2))[:, None] * x_t

    width = torch.logspace(-2, 0.5, 11, dtype=f64)
    solver = sf.Adaptive(rtol=1e-8, atol=1e-8, s_min=1e-4)
    x = torch.ones(11, 1, dtype=f64)
    times = torch.tensor([0.9, 0.0], dtype=f64)
    result = sf.sample(Scaled(), x, solver=solver, times=times, cond={"width": width, "check": "shared"}, chunk=4)
    assert result.evaluations is not None
    assert len(result.evaluations.unique()) > 3
    alpha, sigma = sf.VP()(times[0])
    torch.testing.assert_close(result.x[:, 0], width / torch.hypot(alpha * width, sigma), rtol=1e-4, atol=1e-6)


def test_a_sample_that_does_not_arrive_is_marked_and_located_and_costs_the_others_nothing():
    class Broken(sf.Denoiser):
        """Finite but for one sample, below t = 0.5."""

        schedule = sf.VP()

        def forward(self, x_t, t):
            t = t.expand(len(x_t))
            return torch.where(((x_t[:, 0] > 5) & (t < 0.5))[:, None], math.nan, 0 * x_t)

    x = torch.zeros(4, 2, dtype=f64)
    x[2] = 6.0
    message = (
        r"sampling: 1 of 4 samples are NaN \(Samples.failed\); the first, number 2, did not get on from t = 0\.5.*"
    )
    with pytest.warns(UserWarning, match=message) as said:
        made = sf.sample(Broken(), x, solver=sf.Adaptive())
    assert len(said) == 1
    assert said[0].filename == __file__
    assert made.failed.tolist() == [False, False, True, False]
    keep = ~made.failed
    alone = sf.sample(Broken(), x[keep], solver=sf.Adaptive())
    assert torch.equal(made.x[keep], alone.x)
    assert made.evaluations is not None
    assert alone.evaluations is not None
    assert torch.equal(made.evaluations[keep], alone.evaluations)
    assert not bool(alone.failed.any())


def test_a_limit_on_steps_leaves_behind_those_that_need_more(start):
    whole = integrate(rotation, start, 0.0, 2.0, rtol=1e-6, atol=1e-6)
    cut = integrate(rotation, start, 0.0, 2.0, rtol=1e-6, atol=1e-6, max_steps=40)
    assert bool(whole.arrived.all())
    assert not cut.arrived[6]  # the highest frequency
    assert bool(cut.arrived[:5].all())
    assert bool((cut.u[~cut.arrived] < 2).all())
    assert torch.equal(cut.x[cut.arrived], whole.x[cut.arrived])


def test_an_empty_batch_is_integrated(start):
    result = integrate(rotation, start[:0], 0.0, 2.0, rtol=1e-6, atol=1e-6)
    assert isinstance(result, Integrated)
    assert result.x.shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sf.Adaptive(rtol=-1.0), "rtol must be at least 0, atol and s_min positive"),
        (lambda x: integrate(rotation, x, 0.0, 1.0, rtol=0.0, atol=0.0), "rtol must be at least 0 and atol positive"),
        (
            lambda x: integrate(rotation, x, 0.0, 1.0, rtol=1.0, atol=1.0, tableau=CLASSICAL),
            "must have embedded weights",
        ),
        (
            lambda x: sf.sample(sf.ExactDenoiser(eight_gaussians(), sf.VP()), (2, 2), solver=sf.Adaptive(), nfe=20),
            "nfe cannot be given to Adaptive, where rtol and atol decide .*got 20",
        ),
    ],
)
def test_impossible_settings_get_one_clear_line(call, message, start):
    with pytest.raises(ValueError, match=message):
        call(start)
