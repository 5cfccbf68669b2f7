"""Effective sample size and R-hat against autoregressive chains, whose answers are known."""

import math

import pytest
import torch

from scorefield import metrics


def autoregressive(rho, n=4000, chains=8, d=3, seed=0):
    """Stationary AR(1), variance 1."""
    noise = torch.randn(n, chains, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = [noise[0]]
    for z in noise[1:]:
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * z)
    return torch.stack(x)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_effective_size_of_an_autoregression(rho):
    """N C (1 - rho) / (1 + rho); 32,000 draws estimate it to a few percent, more for long memory."""
    found = metrics.effective_sample_size(autoregressive(rho))
    exact = 32000 * (1 - rho) / (1 + rho)
    torch.testing.assert_close(found, torch.full((3,), exact, dtype=torch.float64), rtol=0.12, atol=0)
    assert (metrics.r_hat(autoregressive(rho)) < 1.01).all()


def test_what_swings_is_worth_more_than_its_number():
    """rho = -0.5: three times as many as there are."""
    found = metrics.effective_sample_size(autoregressive(-0.5, d=1))
    assert float(found) == pytest.approx(96000, rel=0.15)


def test_chains_that_have_not_met_are_seen():
    x = autoregressive(0.5, n=400)
    apart = x.clone()
    apart[:, 0, 0] += 3  # one chain elsewhere
    apart[:, 1, 1] *= 4  # one wider, with the same mean
    apart[200:, :, 2] += 1  # all of them drifting
    assert (metrics.r_hat(x) < 1.02).all()
    assert (metrics.r_hat(apart) > 1.05).all()
    assert metrics.effective_sample_size(apart)[0] < 60


def test_what_never_moves_has_none():
    still = torch.ones(20, 4, 1)
    assert torch.isnan(metrics.effective_sample_size(still)).all()
    assert torch.isnan(metrics.r_hat(still)).all()
    with pytest.raises(ValueError, match=r"\(N, C, \*event\) with N >= 8"):
        metrics.r_hat(torch.zeros(7, 2))
