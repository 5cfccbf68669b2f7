"""Picard: the sequential rule's own trajectory, in fewer calls one after another."""

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians

f64 = torch.float64
CIRCLE = sf.Cosine(alpha_min=0.0)
RULES = [sf.DDIM(), sf.Euler(path=CIRCLE), sf.DDIM(eta=0.5), sf.DDPM(), sf.EulerMaruyama()]


@pytest.fixture(scope="module")
def exact() -> sf.ExactDenoiser:
    return sf.ExactDenoiser(eight_gaussians(), sf.VP())


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("window", [1, 3, 16, 1000])
def test_with_tolerance_zero_every_point_is_the_rules_own_to_rounding(exact, rule, window):
    """In at most as many calls one after another as the rule has steps, for each sample."""
    times = grids.uniform_log_snr(sf.VP(), 40, s_max=50.0)
    rules = sf.sample(exact, (16, 2), solver=rule, times=times, trajectory=True, dtype=f64, seed=3)
    solver = sf.Picard(rule=rule, window=window, tolerance=0.0)
    got = sf.sample(exact, (16, 2), solver=solver, times=times, trajectory=True, dtype=f64, seed=3)
    torch.testing.assert_close(got.trajectory, rules.trajectory, rtol=1e-11, atol=1e-11)
    assert got.depth <= 40
    assert got.evaluations is not None
    assert bool((got.evaluations >= 40).all())


def test_a_window_of_one_is_the_sequential_rule(exact):
    result = sf.sample(exact, (4, 2), solver=sf.Picard(window=1), nfe=30, dtype=f64)
    assert result.depth == result.nfe == 30
    rule = sf.sample(exact, (4, 2), solver=sf.DDIM(), nfe=30, dtype=f64)
    torch.testing.assert_close(result.x, rule.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-3, 1e-2])
def test_the_distance_to_the_rule_is_within_the_tolerance_of_what_is_denoised(exact, tolerance):
    """rms distance below 5 tolerances of sigma, at every point of the grid, in a quarter of the calls."""
    times = grids.uniform_log_snr(sf.VP(), 100, s_max=50.0)
    rule = sf.sample(exact, (64, 2), solver=sf.DDIM(), times=times, trajectory=True, dtype=f64)
    solver = sf.Picard(window=32, tolerance=tolerance)
    got = sf.sample(exact, (64, 2), solver=solver, times=times, trajectory=True, dtype=f64)
    assert got.trajectory is not None
    assert rule.trajectory is not None
    distance = (got.trajectory - rule.trajectory)[1:].square().mean((1, 2)).sqrt()
    assert bool((distance < 5 * tolerance * torch.hypot(*sf.VP()(times[:-1]))).all())
    assert got.depth <= 25


@pytest.mark.parametrize("window", [7, 100])
def test_where_the_denoiser_is_constant_every_window_takes_one_call(window):
    """Data of one point: the first prediction, which makes the guesses, is all there is to know."""

    class Point(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return torch.full_like(x_t, 0.7)

    result = sf.sample(Point(), (3, 2), solver=sf.Picard(window=window), nfe=50, dtype=f64)
    assert result.depth == 1 + -(-49 // window)
    assert result.nfe == 50
    torch.testing.assert_close(result.x, torch.full((3, 2), 0.7, dtype=f64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [sf.DDIM(), sf.DDPM()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_a_sample_is_the_same_to_the_bit_alone_and_among_others(exact, rule, dtype):
    """Its window moves by itself, so its calls, its evaluations and its value are its own."""
    solver = sf.Picard(rule=rule, window=8, tolerance=1e-2)
    whole = sf.sample(exact, (65, 2), solver=solver, nfe=40, seed=7, dtype=dtype)
    assert whole.evaluations is not None
    assert len(whole.evaluations.unique()) > 3
    depths = []
    for i in (0, 1, 31, 64):
        alone = sf.sample(exact, (1, 2), solver=solver, nfe=40, seed=7, first_index=i, dtype=dtype)
        assert torch.equal(alone.x[0], whole.x[i])
        assert alone.nfe == whole.evaluations[i]
        depths.append(alone.depth)
    assert max(depths) <= whole.depth
    assert torch.equal(sf.sample(exact, (65, 2), solver=solver, nfe=40, seed=7, chunk=9, dtype=dtype).x, whole.x)


def test_the_counts_are_what_the_denoiser_saw_and_conditions_go_with_their_samples():
    calls, seen = [], torch.zeros(11, dtype=torch.int64)

    class Labelled(sf.Denoiser):
        """Data at `label`, blurred by 0.3."""

        schedule = sf.VP()

        def forward(self, x_t, t, *, label):
            calls.append(len(x_t))
            seen.index_add_(0, label, torch.ones_like(label).expand(len(x_t)))
            alpha, sigma = (c.expand(len(x_t))[:, None] for c in self.schedule(t))
            gain = alpha * 0.09 / (alpha**2 * 0.09 + sigma**2)
            return label[:, None] + gain * (x_t - alpha * label[:, None])

    label = torch.arange(11)
    result = sf.sample(Labelled(), (11, 2), solver=sf.Picard(), nfe=40, cond={"label": label}, dtype=f64)
    counted = seen.clone()
    assert result.evaluations is not None
    assert torch.equal(counted, result.evaluations)
    assert result.depth == len(calls)
    rule = sf.sample(Labelled(), (11, 2), solver=sf.DDIM(), nfe=40, cond={"label": label}, dtype=f64)
    torch.testing.assert_close(result.x, rule.x, rtol=0, atol=1e-3)
    assert rule.evaluations is None  # the same for all: nfe says it
    assert rule.depth == rule.nfe == 40


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.Picard(window=0), "window must be at least 1 and tolerance at least 0; got 0"),
        (lambda: sf.Picard(tolerance=-0.1), "got 16 and -0.1"),
    ],
)
def test_impossible_settings_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
