"""Second moments of series, against exact ones: white noise, a sine, an autoregression, and the sums written out."""

import math

import pytest
import torch

from scorefield import metrics

f64 = torch.float64
draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=f64)  # noqa: E731


def test_a_sine_has_all_its_power_at_its_frequency():
    """Amplitude a at f: a^2 / 4 T, where T = n dt is the series' length."""
    n, dt, a, k = 200, 0.02, 3.0, 12
    t = torch.arange(n, dtype=f64) * dt
    found = metrics.periodogram(7 + a * torch.sin(2 * math.pi * k / (n * dt) * t), step=dt)
    assert found.frequency[k - 1] == pytest.approx(k / (n * dt))
    assert found.power[k - 1] == pytest.approx(a**2 / 4 * n * dt)
    assert found.power.sum() - found.power[k - 1] < 1e-9


def test_power_over_all_frequencies_is_the_variance():
    x, dt = draw(5, 2, 31), 0.3  # an odd length: every frequency but 0 is there twice
    found = metrics.periodogram(x, step=dt)
    assert found.power.shape == (5, 2, 15)
    torch.testing.assert_close(2 * found.power.sum(-1) / 31, x.var(-1, correction=0) * dt)


def test_an_autoregression_forgets_geometrically():
    a, x = 0.8, torch.zeros(100, 4100, dtype=f64)
    noise = draw(100, 4100)
    for i in range(1, 4100):
        x[:, i] = a * x[:, i - 1] + noise[:, i]
    r = metrics.autocorrelation(x[:, 100:], lags=6).mean(0)
    assert r.tolist() == pytest.approx([a**k for k in range(7)], abs=0.015)  # bias 9 / 4000, and noise


def test_a_series_that_ends_early_is_as_if_it_were_by_itself():
    x, mask = draw(2, 24), torch.ones(2, 24, dtype=torch.bool)
    mask[1, 17:] = False
    alone = x[1, :17] - x[1, :17].mean()
    r = metrics.autocorrelation(x, lags=4, mask=mask)
    by_hand = [float((alone[: 17 - k] * alone[k:]).sum() / (alone**2).sum()) for k in range(5)]
    assert r[1].tolist() == pytest.approx(by_hand)
    torch.testing.assert_close(r[0], metrics.autocorrelation(x[0], lags=4))
    found = metrics.periodogram(x, mask=mask)
    waves = torch.exp(-2j * math.pi * found.frequency[:, None] * torch.arange(17))
    torch.testing.assert_close(found.power[1], (waves @ alone.to(torch.complex128)).abs() ** 2 / 17)


def test_what_is_no_series_is_refused():
    with pytest.raises(ValueError, match=r"series must be \(..., L\) with L of at least 2; got shape \(3, 1\)"):
        metrics.autocorrelation(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"lags must lie in 0\.\.4; got 5"):
        metrics.autocorrelation(torch.zeros(3, 5), lags=5)
    with pytest.raises(ValueError, match="step must be positive; got 0"):
        metrics.periodogram(torch.zeros(3, 5), step=0)
    assert metrics.autocorrelation(torch.ones(1, 4)).tolist() == [[1, 0, 0]]
