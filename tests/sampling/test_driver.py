"""The driver: the same sample in any batch, counts, trajectories, and one line for each kind of bad input."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids

f64 = torch.float64
STOCHASTIC = [
    sf.DDPM(),
    sf.DDIM(eta=1.0),
    sf.EulerMaruyama(),
    sf.PredictorCorrector(),
    sf.AnnealedLangevin(steps_per_level=2),
]
DETERMINISTIC = [sf.DDIM(), sf.Euler(), sf.Heun()]


@pytest.fixture(scope="module")
def exact() -> sf.ExactDenoiser:
    weights = torch.tensor([0.6, 0.4])
    return sf.ExactDenoiser(
        sf.GaussianMixture(weights, torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.full((2, 2), 0.04)), sf.VP()
    )


@pytest.mark.parametrize("solver", STOCHASTIC + DETERMINISTIC, ids=repr)
def test_a_sample_is_the_same_alone_in_a_batch_of_256_and_in_chunks(exact, solver):
    """Bitwise, with the exact denoiser."""
    whole = sf.sample(exact, (256, 2), solver=solver, nfe=20, seed=7).x
    for i in (0, 1, 100, 255):
        alone = sf.sample(exact, (1, 2), solver=solver, nfe=20, seed=7, first_index=i).x
        assert torch.equal(alone[0], whole[i])
    assert torch.equal(sf.sample(exact, (256, 2), solver=solver, nfe=20, seed=7, chunk=37).x, whole)


@pytest.mark.parametrize(
    ("solver", "steps", "nfe"),
    [
        (sf.DDIM(), 10, 10),
        (sf.Heun(), 10, 19),
        (sf.PredictorCorrector(corrections=2), 10, 28),
        (sf.AnnealedLangevin(steps_per_level=5), 10, 51),
    ],
    ids=repr,
)
def test_nfe_counts_network_evaluations(exact, solver, steps, nfe):
    calls = []

    class Counting(sf.Denoiser):
        schedule = exact.schedule

        def forward(self, x_t, t):
            calls.append(t)
            return exact(x_t, t)

    result = sf.sample(Counting(), (4, 2), solver=solver, times=grids.uniform_log_snr(exact.schedule, steps))
    assert result.nfe == len(calls) == nfe


def test_trajectory_and_callback_see_every_step(exact):
    times, seen = grids.uniform(6), []
    result = sf.sample(
        exact,
        (5, 2),
        solver=sf.DDIM(),
        times=times,
        trajectory=True,
        chunk=2,
        callback=lambda s, x, x0: seen.append((float(s), len(x), x0)),
    )
    assert result.trajectory is not None
    assert result.trajectory.shape == (7, 5, 2)
    assert torch.equal(result.trajectory[-1], result.x)
    assert result.times is not None
    assert torch.equal(result.times, times)
    assert [s for s, _, _ in seen] == times[1:].tolist() * 3
    assert [n for _, n, _ in seen] == [2] * 12 + [1] * 6
    assert torch.equal(seen[-1][2], result.x[-1:])


def test_the_start_has_the_mean_and_variance_of_x_t_not_of_pure_noise():
    """VE ending at sigma = 1 on data N(3, 2^2): a start from N(0, 1) would be far off. 4.5 standard errors."""
    data = sf.Gaussian(torch.tensor([3.0], dtype=f64), torch.tensor([4.0], dtype=f64))
    exact, n = sf.ExactDenoiser(data, sf.VE(0.01, 1.0)), 20_000
    x = sf.sample(exact, (n, 1), solver=sf.Heun(), nfe=100, dtype=f64).x
    assert abs(float(x.mean()) - 3) < 4.5 * 2 / math.sqrt(n)
    assert abs(float(x.std()) / 2 - 1) < 4.5 / math.sqrt(2 * n)


def test_starting_from_a_tensor(exact):
    x = torch.randn(3, 2, dtype=f64)
    times = torch.tensor([0.5, 0.25, 0.0], dtype=f64)
    kept = x.clone()
    result = sf.sample(exact, x, times=times)
    assert result.x.dtype == f64
    assert torch.equal(x, kept)  # not modified in place
    again = sf.sample(exact, x, times=times)
    assert torch.equal(result.x, again.x)


@pytest.mark.parametrize("solver", [sf.Heun(), sf.EulerMaruyama()], ids=repr)
def test_sampling_works_in_inference_mode(exact, solver):
    outside = sf.sample(exact, (4, 2), solver=solver, nfe=8).x
    with torch.inference_mode():
        assert torch.equal(sf.sample(exact, (4, 2), solver=solver, nfe=8).x, outside)


def test_conditions_are_cut_with_the_batch():
    class Labelled(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t, *, label, scale):
            return scale * label.to(x_t)[:, None].expand_as(x_t)

    label = torch.arange(7)
    x = sf.sample(Labelled(), (7, 2), solver=sf.DDIM(), nfe=3, cond={"label": label, "scale": 2.0}, chunk=3).x
    torch.testing.assert_close(x, 2.0 * label[:, None].expand(7, 2).float())


def test_euler_in_t_is_refused_where_the_drift_is_singular():
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.ones(2)), sf.Rectified())
    with pytest.raises(
        ValueError, match=r"EulerMaruyama: coefficient x is not finite at t = 1.*Start the grid below it"
    ):
        sf.sample(exact, (2, 2), solver=sf.EulerMaruyama(), times=grids.uniform(10))


def test_a_path_that_does_not_reach_the_grid_is_refused():
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.ones(2)), sf.VP())
    with pytest.raises(ValueError, match=r"does not reach the noise ratio"):
        sf.sample(exact, (2, 2), solver=sf.Heun(path=sf.EDM(sigma_max=1.0)), times=grids.uniform(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": (4, -2)}, r"start must be a shape"),
        ({"start": ()}, r"start must be a shape"),
        ({"start": torch.tensor([[math.nan, 0.0]])}, "start must be finite"),
        ({"start": torch.zeros(2, 2, dtype=torch.int64)}, "start must be floating point"),
        ({"times": torch.tensor([1.5, 0.0])}, r"t must lie in \[0, 1\]"),
        ({"times": torch.tensor([math.nan, 0.0])}, "got nan"),
        ({"times": torch.tensor([0.0, 1.0])}, "times must"),
        ({"times": torch.tensor([1.0])}, "times must"),
        ({"times": torch.tensor([1.0, 0.0]), "nfe": 5}, "either times or nfe"),
        ({"nfe": 0, "solver": sf.Heun()}, "nfe must be at least 1"),
        ({"nfe": 1, "solver": sf.PredictorCorrector()}, "nfe must be at least 2"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_input_gets_one_clear_line(exact, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        sf.sample(exact, **{"start": (4, 2), **arguments})
    assert "\n" not in str(error.value)


def test_a_denoiser_of_the_wrong_shape_is_named():
    class Wrong(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return x_t[..., :1]

    with pytest.raises(ValueError, match=r"Wrong must return the shape of x_t, \(4, 2\); got \(4, 1\)"):
        sf.sample(Wrong(), (4, 2), nfe=5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.DDIM(eta=1.5), r"eta must lie in \[0, 1\]; got 1.5"),
        (lambda: sf.EulerMaruyama(eta=-1), "eta must be at least 0"),
        (lambda: sf.PredictorCorrector(snr=0.0), "snr positive"),
        (lambda: sf.AnnealedLangevin(step_size=5.0), r"step_size in \(0, 4\)"),
    ],
)
def test_solvers_refuse_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
