"""Units: log-Jacobians and bits per dimension of densities known in closed form."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import data

f64 = torch.float64


def test_log_jacobian_is_that_of_autograd():
    transform = data.Scale(-0.3, 1.7)
    y = torch.randn(5, dtype=f64)
    jacobian = torch.autograd.functional.jacobian(transform, y)
    assert transform.log_jacobian(5) == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), rel=1e-12)
    torch.testing.assert_close(transform.inverse(transform(y)), y)


@pytest.mark.parametrize("make", [data.Scale.to_unit_range, data.Scale.to_standard])
def test_transforms_measure_the_dequantised_data(make):
    raw = torch.randint(0, 17, (4000, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    transform = make(raw, levels=17)
    x = transform.dequantize(raw, torch.Generator().manual_seed(1)).double()
    # 256,000 entries of standard deviation sd: 5 standard errors of the mean, and of the standard deviation
    assert abs(float(x.mean()) - transform.mean) < 5 * transform.sigma_data / 506
    assert float(x.std()) == pytest.approx(transform.sigma_data, rel=5 / 506)
    if make == data.Scale.to_unit_range:
        assert -1 <= float(x.min()) < -0.99 < 0.99 < float(x.max()) < 1
    else:
        assert (transform.mean, transform.sigma_data) == (0.0, 1.0)


def test_dequantisation_is_uniform_and_undone_exactly():
    raw = torch.arange(256, dtype=torch.uint8).repeat(2000)
    y = data.dequantize(raw, torch.Generator().manual_seed(0))
    assert torch.equal(y.floor(), raw.float())
    u = (y - raw).double().sort().values
    # Kolmogorov-Smirnov at 512,000 draws: exceeding 2.5 / sqrt(n) has probability 7e-6
    assert float((u - torch.arange(len(u)) / len(u)).abs().max()) < 2.5 / len(u) ** 0.5
    transform = data.Scale(2 / 256, -1.0, 256)
    assert torch.equal(transform.quantize(transform(y.double())), raw.long())


def test_dequantisation_never_rounds_up(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1 - 2**-24))
    raw = torch.tensor([0, 1, 16, 255], dtype=torch.uint8)
    assert torch.equal(data.dequantize(raw).floor(), raw.float())


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("make", [data.Scale.to_unit_range, data.Scale.to_standard])
def test_the_uniform_density_costs_log2_levels_in_any_model_units(levels, make):
    raw = torch.randint(0, levels, (64, 12), generator=torch.Generator().manual_seed(0))
    transform = make(raw, levels=levels)
    # x uniform on an interval of length levels * scale
    log_prob = torch.full((64,), -12 * math.log(levels * transform.scale), dtype=f64)
    bits = data.bits_per_dim(log_prob, transform, 12)
    torch.testing.assert_close(bits, torch.full_like(bits, math.log2(levels)))


def test_bits_of_a_wide_gaussian_are_its_entropy():
    """Rounded N(8, s^2) with s of several grey levels: H = log2(s sqrt(2 pi e)) bits, in raw units."""
    s, d, n = 3.0, 4, 20_000
    generator = torch.Generator().manual_seed(0)
    raw = torch.floor(64 + s * torch.randn(n, d, dtype=f64, generator=generator)).to(torch.int64)
    transform = data.Scale(2 / 128, -1.0, 128)
    x = transform.dequantize(raw, generator).double()
    mean, sd = transform.scale * 64 + transform.shift, transform.scale * s
    model = sf.Gaussian(torch.full((d,), mean, dtype=f64), torch.full((d,), sd**2, dtype=f64))
    bits = data.bits_per_dim(model.log_prob(x), transform, d)
    # 5 standard errors, and 1/12 / (2 s^2) nats for the variance that dequantisation within a bin leaves unmodelled
    slack = 5 * float(bits.std()) / n**0.5 + 1 / (24 * s**2) / math.log(2)
    assert float(bits.mean()) == pytest.approx(math.log2(s * math.sqrt(2 * math.pi * math.e)), abs=slack)


def test_bad_units_are_refused():
    with pytest.raises(ValueError, match=r"x_raw must lie in 0\.\.16; got 0\.\.17"):
        data.Scale.to_unit_range(torch.tensor([0, 17]), levels=17)
    with pytest.raises(ValueError, match="not be empty"):
        data.Scale.to_standard(torch.zeros(0), levels=17)
    with pytest.raises(ValueError, match="scale must be finite and not 0"):
        data.Scale(0.0)
    with pytest.raises(ValueError, match="levels"):
        data.Scale(1.0).quantize(torch.zeros(2))
