"""Langevin dynamics, with and without momentum: stationary laws in closed form, mixing, and their work in samplers."""

import itertools
import math

import numpy as np
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
        _, covariance = stationary(ula_step(lambda x: -x / variance, h), 1)
        assert float(covariance) == pytest.approx(variance / (1 - h / (4 * variance)), rel=1e-9)
        errors.append(float(covariance) - variance)
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([1, 1], abs=0.1)
    for h in (0.1, 1.0, 2.8):
        _, covariance = stationary(baoab_step(lambda x: -x / variance, h, friction=0.7), 2)
        assert float(covariance[0, 0]) == pytest.approx(variance, rel=1e-9)


def ula_step(score, step_size):
    """One step of `ula` in one dimension, as a function of x and z: the noise is the library's own, taken off."""

    def step(y, z):
        own = Noise(0, torch.arange(len(y)), (1,), f64).normal(0)
        return sf.ula(score, y, steps=1, step_size=step_size).x + math.sqrt(step_size) * (z - own)

    return step


def baoab_step(score, h, friction):
    """One step of `baoab` in one dimension, as a function of (x, v) and z."""
    fluctuate = math.sqrt(-math.expm1(-2 * friction * h))

    def step(y, z):
        own = Noise(0, torch.arange(len(y)), (1,), f64).normal(1)
        end = sf.baoab(score, y[:, :1], steps=1, step_size=h, friction=friction, velocity=y[:, 1:].clone())
        change = fluctuate * (z - own)
        return torch.cat([end.x + h / 2 * change, end.velocity + change], 1)

    return step


def test_baoab_is_of_second_order_where_the_score_is_not_linear():
    """exp(-x^4 / 4): how far one step of h carries moments away from the law it should leave as it is, by quadrature.

    An error h^(p + 1) of a step makes one of h^p in the stationary law. BAOAB's state is taken between its half kicks.
    """
    x, friction = torch.linspace(-4, 4, 161, dtype=f64), 2.0
    score = lambda x: -(x**3)  # noqa: E731
    node, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(16))
    w = torch.einsum("i,j,k->ijk", torch.exp(-(x**4) / 4), weight, weight).reshape(-1)
    x, v, z = (a.reshape(-1, 1) for a in torch.meshgrid(x, node, node, indexing="ij"))
    ula, baoab = [], []
    for h in (0.05, 0.025):
        ula.append(_change(w, x, ula_step(score, h)(x, z)))
        end = baoab_step(score, h, friction)(torch.cat([x, v - h / 2 * score(x)], 1), z)
        end[:, 1:] += h / 2 * score(end[:, :1])
        baoab.append(_change(w, torch.cat([x, v], 1), end))
    assert torch.log2(ula[0] / ula[1]).item() - 1 == pytest.approx(1, abs=0.05)
    of_x2, of_xv, of_v2 = (torch.log2(baoab[0] / baoab[1]) - 1)[[0, 1, 3]].tolist()
    assert (of_xv, of_v2) == pytest.approx((2, 2), abs=0.2)
    assert of_x2 > 2.5


def _change(weight, before, after):
    """Of the second moments of the columns of `(N, d)`, flat."""
    a, b = (torch.einsum("n,ni,nj->ij", weight / weight.sum(), y, y) for y in (after, before))
    return (a - b).reshape(-1)
