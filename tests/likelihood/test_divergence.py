"""Traces from products with a matrix that is known."""

import math

import pytest
import torch
from likelihood_cases import f64, seeded

from scorefield.likelihood import Exact, Hadamard, Rademacher


def matrix(d):
    return torch.randn(d, d, dtype=f64, generator=seeded(0))


def products(divergence, d, n, seed=0):
    """(estimates `(n, C)`, the trace)."""
    v = divergence.directions(torch.zeros(n, d, dtype=f64), seed, torch.arange(n))
    return divergence.combine(torch.einsum("kbi,ij,kbj->bk", v, matrix(d), v)), matrix(d).trace()


@pytest.mark.parametrize(("divergence", "d"), [(Exact(), 5), (Hadamard(8), 5), (Hadamard(8), 8), (Hadamard(1), 1)])
def test_as_many_as_there_are_give_the_trace(divergence, d):
    estimates, trace = products(divergence, d, 10)
    torch.testing.assert_close(estimates.mean(1), trace.expand(10), rtol=0, atol=1e-12)


@pytest.mark.parametrize("divergence", [Rademacher(4), Hadamard(4)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("d", [6, 8])
def test_probes_are_unbiased_with_the_variance_they_report(divergence, d):
    """20,000 of them: mean within 4.5 standard errors, reported variance within 5% of the observed and of theory."""
    n = 20_000
    estimates, trace = products(divergence, d, n)
    error = estimates.mean(1) - trace
    assert abs(float(error.mean())) < 4.5 * float(error.std()) / math.sqrt(n)
    symmetric = (matrix(d) + matrix(d).T) / 2
    one = 2 * float(symmetric.square().sum() - symmetric.diagonal().square().sum())
    theory = one / 4 * ((8 - 4) / (8 - 1) if isinstance(divergence, Hadamard) else 1)
    assert float(error.square().mean()) == pytest.approx(theory, rel=0.05)
    assert float(divergence.stderr(estimates, d).square().mean()) == pytest.approx(theory, rel=0.05)


@pytest.mark.parametrize("divergence", [Rademacher(3), Hadamard(3)], ids=lambda p: type(p).__name__)
def test_probes_are_signs_that_depend_on_the_sample_alone(divergence):
    whole = divergence.directions(torch.zeros(20, 2, 3), 7, torch.arange(20))
    alone = divergence.directions(torch.zeros(2, 2, 3), 7, torch.tensor([19, 4]))
    assert torch.equal(whole[:, [19, 4]], alone)
    assert bool((whole.abs() == 1).all())
    assert not torch.equal(whole, divergence.directions(torch.zeros(20, 2, 3), 8, torch.arange(20)))


def test_hadamard_probes_of_a_power_of_two_are_orthogonal():
    v = Hadamard(8).directions(torch.zeros(5, 16, dtype=f64), 0, torch.arange(5))
    grams = torch.einsum("kbi,lbi->bkl", v, v)
    assert torch.equal(grams, 16 * torch.eye(8, dtype=f64).expand(5, 8, 8))
