"""Adams' methods with a step and an order for each sample, against closed forms."""

import math

import numpy as np
import pytest
import torch

from scorefield.solvers.adams import ORDERS, AdamsStep, Verdict, _weights, follow

f64 = torch.float64
SPEEDS = torch.tensor([0.3, 1.0, 2.0, 5.0], dtype=f64)


def rotate(x, u, rows):
    """dx/du = w (-x_2, x_1) at a speed of each sample's own, which is quicker around u = 1."""
    w = SPEEDS[rows % 4] / (0.2 + (u - 1) ** 2)
    return w[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)


def exact(u, batch):
    angle = SPEEDS[torch.arange(batch) % 4] * (math.atan((u - 1) / 0.2**0.5) - math.atan(-1 / 0.2**0.5)) / 0.2**0.5
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1)


def size_of_error(step: AdamsStep):
    return Verdict(torch.stack([e.square().sum(1).sqrt() for e in step.differences]), torch.zeros_like(step.u))


def turned(tolerance, batch=4, rows=None, f=rotate):
    index = torch.arange(batch) if rows is None else rows
    x = torch.tensor([[1.0, 0.0]], dtype=f64).repeat(len(index), 1)

    def of(y, u, r):
        return f(y, u, index[r])

    start = torch.zeros(len(x), dtype=f64)
    return follow(of, x, of(x, start, torch.arange(len(x))), start, 2.0, judge=size_of_error, budget=10 * tolerance)


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
    """The sum of the steps' estimates falls short by 1.8 at most here: what `likelihood.density` takes twice of."""
    result = turned(tolerance)
    error = (result.x - exact(2.0, 4)).square().sum(1).sqrt()
    assert bool((error < 2 * result.error).all())
    assert bool((error > 0).all())


def test_high_orders_are_used():
    """From 1e-3 to 1e-6 an estimate of order 4, h^5, asks for 10^(3/5) = 4 times the steps, order 3 for 5.6 times; the
    share of what is left of the budget, for a fifth more where steps are many."""
    few, many = (turned(t).evaluations for t in (1e-3, 1e-6))
    assert bool((many < 5 * few).all())


def test_quiet_samples_take_fewer_steps_than_wild_ones():
    evaluations = turned(1e-6).evaluations
    assert int(evaluations[0]) < int(evaluations[3]) / 1.3


def test_a_sample_does_not_depend_on_its_batch_to_the_bit():
    whole = turned(1e-5, 23)
    for rows in ([5], [0, 7, 21]):
        alone = turned(1e-5, rows=torch.tensor(rows))
        for a, b in zip(whole, alone, strict=True):
            assert torch.equal(a[rows], b)


def test_samples_that_cannot_be_followed_are_left_behind_and_cost_the_others_nothing():
    def broken(x, u, rows):
        return torch.where(((u > 0.5) & (rows == 2))[:, None], torch.nan, rotate(x, u, rows))

    result, whole = turned(1e-3, f=broken), turned(1e-3)
    assert result.arrived.tolist() == [True, True, False, True]
    for a, b in zip(result, whole, strict=True):
        assert torch.equal(a[[0, 1, 3]], b[[0, 1, 3]])


def test_every_sample_may_begin_where_it_likes():
    start = torch.tensor([0.0, 0.3, 1.0, 1.5], dtype=f64)
    x = torch.stack([exact(float(u), 4)[i] for i, u in enumerate(start)])
    done = follow(rotate, x, rotate(x, start, torch.arange(4)), start, 2.0, judge=size_of_error, budget=1e-5)
    torch.testing.assert_close(done.x, exact(2.0, 4), rtol=0, atol=1e-4)


def test_a_range_that_runs_backwards_is_refused():
    x = torch.zeros(1, 2, dtype=f64)
    with pytest.raises(ValueError, match="end must lie above start; got 1 and 1"):
        follow(rotate, x, x, torch.ones(1, dtype=f64), 1.0, judge=size_of_error, budget=1.0)
