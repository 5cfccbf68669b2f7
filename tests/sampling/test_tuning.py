"""A tuned sampler is nearer to the exact path than the default, on noise it has not seen."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.solvers import PathVelocity, Tuned

f64 = torch.float64
CIRCLE = sf.Cosine(0.0)


def mixture(schedule):
    means = torch.tensor([[1.2, 0.0], [-0.9, 0.6], [-0.2, -1.0]], dtype=f64)
    covariances = torch.diag_embed(torch.tensor([[0.2, 0.1], [0.3, 0.2], [0.1, 0.1]], dtype=f64) ** 2)
    return sf.ExactDenoiser(sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, covariances), schedule)


@pytest.fixture(scope="module")
def tuned():
    return sf.tune(mixture(sf.VP()), (2,), 6, paths=128, teacher_steps=64, dtype=f64)


def test_it_is_at_least_twice_as_near_on_noise_of_another_seed(tuned):
    exact = mixture(sf.VP())
    x_t = sf.sample(exact, (512, 2), times=torch.tensor([1.0, 0.999999]), seed=7, dtype=f64).x
    end = sf.sample(exact, x_t, solver=sf.RK4(path=CIRCLE), times=grids.angular(exact.schedule, 300)).x
    distance = lambda x: float((x - end).norm(dim=1).median())  # noqa: E731
    assert distance(sf.sample(exact, x_t, solver=tuned.solver).x) < 0.5 * distance(sf.sample(exact, x_t, nfe=6).x)
    assert tuned.helps
    assert tuned.tuned.median < 0.5 * tuned.default.median


def test_it_uses_as_many_evaluations_as_it_says_and_every_reading_of_the_model_agrees(tuned):
    vp, edm = mixture(sf.VP()), mixture(sf.EDM(sigma_max=float(sf.VP().noise_ratio(1.0))))
    x = edm.schedule.sigma(torch.ones((), dtype=f64)) * torch.randn(
        8, 2, dtype=f64, generator=torch.Generator().manual_seed(0)
    )
    first = sf.sample(vp, vp.schedule.alpha(torch.ones((), dtype=f64)) * x, solver=tuned.solver, nfe=6)
    assert first.nfe == 6
    torch.testing.assert_close(first.x, sf.sample(edm, x, solver=tuned.solver).x, rtol=1e-9, atol=1e-9)


def test_rows_of_an_adams_method_are_that_method():
    """Euler on the circle: z + F du, written as ratios and rows."""
    exact = mixture(sf.VP())
    times = grids.angular(exact.schedule, 8, scale=exact.data_std)
    ratios = (exact.schedule.noise_ratio(times) / exact.data_std).tolist()
    u = [2 / math.pi * math.atan(s) for s in ratios]  # the circle's time
    solver = Tuned(tuple(ratios), tuple((1.0, b - a) for a, b in itertools.pairwise(u)))
    euler = sf.Multistep(1, PathVelocity(CIRCLE), corrector=False)
    x = torch.randn(8, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    expected = sf.sample(exact, x, solver=euler, times=times).x
    torch.testing.assert_close(sf.sample(exact, x, solver=solver).x, expected, rtol=0, atol=1e-12)


def test_no_sample_depends_on_its_neighbours(tuned):
    exact = mixture(sf.VP())
    whole = sf.sample(exact, (16, 2), solver=tuned.solver, dtype=f64).x
    assert torch.equal(sf.sample(exact, (16, 2), solver=tuned.solver, dtype=f64, chunk=5).x, whole)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: sf.tune(mixture(sf.VP()), (2,), 1), "nfe must be at least 2"),
        (lambda t: sf.tune(mixture(sf.VP()), (2,), 4, paths=1), "paths must be at least 2; got 1"),
        (lambda t: Tuned((1.0, 2.0, 0.0), ((1.0, 1.0),) * 2), "ratios must fall to 0"),
        (lambda t: Tuned((2.0, 0.0), ((1.0, 1.0, 1.0),)), "row i must hold 2 to i \\+ 2 numbers"),
        (
            lambda t: sf.sample(mixture(sf.VP()), (2, 2), solver=t, nfe=7),
            "nfe must be 6, what this method was tuned for",
        ),
        (lambda t: sf.sample(mixture(sf.VP()), (2, 2), solver=t, times=grids.uniform(6)), "the grid it was tuned on"),
    ],
)
def test_bad_arguments_get_one_clear_line(tuned, make, message):
    with pytest.raises(ValueError, match=message) as error:
        make(tuned.solver)
    assert "\n" not in str(error.value)
