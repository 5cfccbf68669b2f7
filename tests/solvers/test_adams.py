"""Adams' methods with a step and an order for each sample, against closed forms."""

import math

import numpy as np
import pytest
import torch

from scorefield.solvers.adams import ORDERS, AdamsStep, _weights, follow
from scorefield.solvers.adaptive import StepError

f64 = torch.float64
SPEEDS = torch.tensor([0.3, 1.0, 2.0, 5.0], dtype=f64)


def rotate(x, u, rows):
    """dx/du = w (-x_2, x_1) at a speed of each sample's own, which is quicker around u = 1."""
    w = SPEEDS[rows % 4] / (0.2 + (u - 1) ** 2)
    return w[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)


def exact(u, batch):
    angle = SPEEDS[torch.arange(batch) % 4] * (math.atan((u - 1) / 0.2**0.5) - math.atan(-1 / 0.2**0.5)) / 0.2**0.5
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1)


def within(tolerance):
    def judge(step: AdamsStep):
        return torch.stack([e.square().sum(1).sqrt() for e in step.differences]) / tolerance

    return judge


def turned(tolerance, batch=4, rows=None, f=rotate):
    index = torch.arange(batch) if rows is None else rows
    x = torch.tensor([[1.0, 0.0]], dtype=f64).repeat(len(index), 1)

    def of(y, u, r):
        return f(y, u, index[r])

    return follow(of, x, of(x, torch.zeros(len(x), dtype=f64), torch.arange(len(x))), 0.0, 2.0, judge=within(tolerance))


def test_the_weights_are_integrals_of_newtons_polynomials():
    """c_k against Gauss-Legendre quadrature, and the error of a corrector as the difference of the two correctors."""
    r = torch.tensor([0.0, -0.7, -1.1, -2.3, -4.0], dtype=f64)[:, None]
    size = torch.tensor([0.3], dtype=f64)
    weights, scales = _weights(r, size)
    x, w = (torch.tensor(v, dtype=f64) for v in np.polynomial.legendre.leggauss(6))
    v = (x + 1) / 2
    for k in range(ORDERS + 1):
        product = torch.stack([v - r[i, 0] for i in range(k)]).prod(0) if k else torch.ones_like(v)
        assert float(weights[k]) == pytest.approx(0.3 ** (k + 1) * float((w / 2 * product).sum()), abs=1e-15)
    for j in range(1, ORDERS + 1):
        way = 0.3 * (1 - float(r[j - 1]))
        assert float(scales[j - 1]) == pytest.approx(abs(float(weights[j]) - float(weights[j - 1]) * way), rel=1e-12)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_the_error_at_the_end_is_within_what_was_estimated(tolerance):
    """The sum of the steps' estimates is 0.96 to 20 times the error here; 1.2 for the cases in which it falls short."""
    result = turned(tolerance)
    error = (result.x - exact(2.0, 4)).square().sum(1).sqrt()
    assert bool((error < 1.2 * result.error * tolerance).all())
    assert bool((error > 0).all())


def test_high_orders_are_used():
    """From 1e-3 to 1e-6 an estimate of order 4, h^5, asks for 10^(3/5) = 4 times the steps, order 2 for 10 times."""
    few, many = (turned(t).evaluations for t in (1e-3, 1e-6))
    assert bool((many < 4.2 * few).all())


def test_quiet_samples_take_fewer_steps_than_wild_ones():
    evaluations = turned(1e-6).evaluations
    assert int(evaluations[0]) < int(evaluations[3]) / 1.3


def test_a_sample_does_not_depend_on_its_batch_to_the_bit():
    whole = turned(1e-5, 23)
    for rows in ([5], [0, 7, 21]):
        alone = turned(1e-5, rows=torch.tensor(rows))
        for a, b in zip(whole, alone, strict=True):
            assert torch.equal(a[rows], b)


def test_what_is_not_finite_is_reported():
    def broken(x, u, rows):
        return torch.where((u > 0.5)[:, None], torch.nan, 1.0) * x

    with pytest.raises(StepError, match="4 of 4 samples did not arrive"):
        turned(1e-3, f=broken)


def test_a_range_that_runs_backwards_is_refused():
    x = torch.zeros(1, 2, dtype=f64)
    with pytest.raises(ValueError, match="end must lie above start"):
        follow(rotate, x, x, 1.0, 1.0, judge=within(1.0))
