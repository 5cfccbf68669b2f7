"""Langevin dynamics, with and without momentum: stationary laws in closed form, mixing, and their work in samplers."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield.randomness import Noise
from scorefield.solvers.base import State

f64 = torch.float64
MEAN, STD = 1.5, 0.7


def gaussian(schedule) -> sf.ExactDenoiser:
    return sf.ExactDenoiser(
        sf.Gaussian(torch.full((1,), MEAN, dtype=f64), torch.full((1,), STD**2, dtype=f64)), schedule
    )


def affine(step, size):
    """(M, b, n) of a step y <- M y + b + n z that is affine: its values at 0, at the unit vectors and at z = 1."""
    y = torch.cat([torch.zeros(1, size, dtype=f64), torch.eye(size, dtype=f64), torch.zeros(1, size, dtype=f64)])
    z = torch.zeros(size + 2, 1, dtype=f64)
    z[-1] = 1
    end = step(y, z)
    return (end[1:-1] - end[0]).T, end[0], end[-1] - end[0]


def stationary(step, size):
    """Mean and covariance of the stationary law: m = M m + b, C = M C M' + n n'."""
    m, b, n = affine(step, size)
    eye = torch.eye(size, dtype=f64)
    mean = torch.linalg.solve(eye - m, b)
    kron = torch.eye(size * size, dtype=f64) - torch.kron(m, m)
    return mean, torch.linalg.solve(kron, torch.outer(n, n).reshape(-1)).reshape(size, size)


def at_level(dynamics, denoiser, t, step_size):
    """The dynamics' own step as a function of y = (x, v) or (x), and z."""
    (coefficients,) = dynamics.coefficients(denoiser, t[None], step_size)

    def step(y, z):
        past = (y[:, 1:].clone(),) if y.shape[1] == 2 else ()
        state = dynamics.step(
            lambda x_t, t, rows=None: denoiser(x_t, t), State(y[:, :1], y[:, :1], past), t, coefficients, 0, lambda k: z
        )
        return torch.cat([state.x, *state.past], 1)

    return step


LEVELS = [(sf.VP(), 0.05), (sf.VP(), 0.4), (sf.EDM(sigma_max=10.0), 0.3), (sf.Rectified(), 0.5)]


@pytest.mark.parametrize(("schedule", "level"), LEVELS, ids=repr)
@pytest.mark.parametrize("step_size", [0.1, 1.0, 3.9])
def test_the_stationary_laws_on_gaussian_data(schedule, level, step_size):
    """Of the library's steps themselves, by linear algebra: v / (1 - h / 4v) without and v with the exact parts."""
    denoiser, t = gaussian(schedule), torch.tensor(level, dtype=f64)
    alpha, sigma = (float(c) for c in schedule(t))
    v, h = (alpha * STD) ** 2 + sigma**2, step_size * sigma**2
    expected = {
        sf.Overdamped(): v / (1 - h / (4 * v)),
        sf.Exponential(): v,
        sf.Underdamped(): v,
        sf.Underdamped(friction=0.1): v,
        sf.Underdamped(friction=30.0): v,
    }
    for dynamics, variance in expected.items():
        size = 2 if isinstance(dynamics, sf.Underdamped) else 1
        mean, covariance = stationary(at_level(dynamics, denoiser, t, step_size), size)
        assert float(mean[0]) == pytest.approx(alpha * MEAN, rel=1e-9)
        assert float(covariance[0, 0]) == pytest.approx(variance, rel=1e-9), dynamics


def test_an_endless_exponential_step_is_an_independent_draw_of_gaussian_data():
    denoiser, t = gaussian(sf.VP()), torch.tensor(0.4, dtype=f64)
    m, _, _ = affine(at_level(sf.Exponential(), denoiser, t, 1e4), 1)
    assert abs(float(m)) < 1e-12


@pytest.mark.parametrize("dynamics", [sf.Overdamped(), sf.Exponential(), sf.Underdamped()], ids=repr)
def test_a_step_size_below_4_is_stable_for_data_without_width_and_one_above_is_not(dynamics):
    """Data that is a point, the denoiser believing in another width: the score's slope is -1 / sigma^2, the steepest.

    For the exponential step at a sigma where the believed width is far the larger.
    """

    class Point(sf.Denoiser):
        schedule = sf.EDM(sigma_max=1.0)

        def forward(self, x_t, t):
            return torch.zeros_like(x_t)

    size = 2 if isinstance(dynamics, sf.Underdamped) else 1
    for step_size, stable in ((3.9, True), (4.1, False)):
        m, _, _ = affine(at_level(dynamics, Point(), torch.tensor(1e-3, dtype=f64), step_size), size)
        assert (float(torch.linalg.eigvals(m).abs().max()) < 1) == stable


def test_ula_is_of_first_order_and_baoab_exact_on_a_gaussian():
    """N(0, 2). ULA's error in the variance halves with h; BAOAB's is rounding at every stable h < 2 sqrt(2)."""
    variance = 2.0
    errors = []
    for h in (0.4, 0.2, 0.1):
        z_of = lambda h=h: Noise(0, torch.arange(3), (1,), f64).normal(0)  # noqa: E731  ula's first draw, of 3 chains

        def step(y, z, h=h, z_of=z_of):
            # the noise is the library's own: take it off, put z in its place
            return sf.ula(lambda x: -x / variance, y, steps=1, step_size=h).x + math.sqrt(h) * (z - z_of())

        _, covariance = stationary(step, 1)
        assert float(covariance) == pytest.approx(variance / (1 - h / (4 * variance)), rel=1e-9)
        errors.append(float(covariance) - variance)
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([1, 1], abs=0.1)
    for h in (0.1, 1.0, 2.8):
        _, covariance = stationary(baoab_step(torch.tensor([variance], dtype=f64), h, friction=0.7), 2)
        assert float(covariance[0, 0]) == pytest.approx(variance, rel=1e-9)


def baoab_step(variance, h, friction):
    """One step of `baoab` on N(0, variance) in one dimension, as a function of (x, v) and z."""
    fluctuate = math.sqrt(-math.expm1(-2 * friction * h))

    def step(y, z):
        own = Noise(0, torch.arange(len(y)), (1,), f64).normal(1)
        end = sf.baoab(
            lambda x: -x / variance, y[:, :1], steps=1, step_size=h, friction=friction, velocity=y[:, 1:].clone()
        )
        change = fluctuate * (z - own)
        return torch.cat([end.x + h / 2 * change, end.velocity + change], 1)

    return step


def test_baoab_is_of_second_order_where_the_score_is_not_linear():
    """exp(-x^4 / 4), whose variance comes from quadrature. 100,000 chains: a standard error of 0.0027 in E x^2. At
    h^2 = 0.5 and 0.25 ULA's error is 0.07 and 0.03, first order; BAOAB's is below its standard error of 4.5 at both.
    """
    grid = torch.linspace(-6, 6, 20_001, dtype=f64)
    density = torch.exp(-(grid**4) / 4)
    second, fourth = (float((density * grid**k).sum() / density.sum()) for k in (2, 4))
    n = 100_000
    tolerance = 4.5 * math.sqrt((fourth - second**2) / n)
    start = torch.zeros(n, 1, dtype=f64)
    ula_errors = []
    for h2 in (0.5, 0.25):
        steps = int(20 / h2)
        ula = sf.ula(lambda x: -(x**3), start, steps=steps, step_size=h2)
        baoab = sf.baoab(lambda x: -(x**3), start, steps=steps, step_size=h2**0.5, friction=2.0)
        ula_errors.append(float(ula.x.square().mean()) - second)
        print(h2, ula_errors[-1], float(baoab.x.square().mean()) - second, tolerance)
