"""Units: log-Jacobians and bits per dimension of densities known in closed form."""

import json
import math

import pytest
import torch

import scorefield as sf
from scorefield import data
from scorefield.storage import models

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


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_every_level_as_often_is_uniform_once_dequantised(levels):
    """On [0, levels): mean levels / 2, variance levels^2 / 12, of which the integers alone have (levels^2 - 1) / 12."""
    raw = torch.arange(levels).repeat(3)[:, None]
    unit, standard = data.Scale.to_unit_range(raw, levels=levels), data.Scale.to_standard(raw, levels=levels)
    assert (unit.mean, unit.sigma_data) == pytest.approx((0, 1 / math.sqrt(3)), abs=1e-12)
    assert 1 / standard.scale == pytest.approx(levels / math.sqrt(12), rel=1e-12)
    assert -standard.shift / standard.scale == pytest.approx(levels / 2, rel=1e-12)


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


def tables(rows=300):
    """Three columns in very different units, one far from 0."""
    z = torch.randn(rows, 3, dtype=f64, generator=torch.Generator().manual_seed(0))
    return torch.stack([1e-3 * z[:, 0], 5 + z[:, 1], 1000 + 30 * z[:, 2]], 1).float()


TRANSFORMS = [
    data.Scale(-0.3, 1.7),
    data.Scale.to_standard(tables()),
    data.Standardize.measured(tables(), columns=("a", "b", "c")),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["Scale", "to_standard", "Standardize"])
def test_transforms_keep_their_contract(transform):
    assert isinstance(transform, data.Transform)
    y = tables(4).double()
    x = transform(y)
    torch.testing.assert_close(transform.inverse(x), y)
    jacobian = torch.autograd.functional.jacobian(lambda v: transform(v[None])[0], y[0])
    assert transform.log_jacobian(3) == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), rel=1e-12)
    assert torch.equal(transform.dequantize(y, torch.Generator().manual_seed(0)), x)  # continuous: no noise
    torch.testing.assert_close(transform(y[2:3]), x[2:3], rtol=0, atol=0)  # whatever the batch
    assert models.build(json.loads(json.dumps(models.describe(transform)))) == transform


def test_standardised_columns_have_mean_0_and_deviation_1():
    raw = tables()
    x = data.Standardize.measured(raw)(raw.double())
    # the columns are float32, the moments float64: only the final arithmetic rounds
    torch.testing.assert_close(x.mean(0), torch.zeros(3, dtype=f64), rtol=0, atol=1e-12)
    torch.testing.assert_close(x.var(0, correction=0), torch.ones(3, dtype=f64), rtol=1e-12, atol=0)


def test_a_standardised_gaussian_keeps_its_density():
    """log p_y(y) = log p_x(x) + log|dx/dy|, with p_y a Gaussian of known columns and p_x the standard normal."""
    mean, std = torch.tensor([1.0, -300.0], dtype=f64), torch.tensor([0.01, 40.0], dtype=f64)
    transform = data.Standardize(tuple(mean.tolist()), tuple(std.tolist()))
    y = mean + std * torch.randn(50, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    standard = sf.Gaussian(torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64))
    torch.testing.assert_close(
        standard.log_prob(transform(y)) + transform.log_jacobian(2), sf.Gaussian(mean, std**2).log_prob(y)
    )


@pytest.mark.parametrize("per_entry", [False, True])
def test_moments_in_chunks_are_those_of_the_whole(per_entry, monkeypatch):
    raw = 1e4 + torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("scorefield.data.sources.CHUNK_BYTES", 24 * 7)  # 7 rows: the last chunk is short
    whole = raw.double() if per_entry else raw.double().flatten()
    for given in (raw, data.Arrays(raw)):
        m = data.moments(given, per_entry=per_entry)
        # the mean is 1e4 deviations away: E[x^2] - E[x]^2 would lose 8 of 16 digits
        torch.testing.assert_close(m.mean, whole.mean(0), rtol=1e-14, atol=0)
        torch.testing.assert_close(m.var, whole.var(0, correction=0), rtol=1e-11, atol=0)
        assert torch.equal(m.low, whole.amin(0))
        assert torch.equal(m.high, whole.amax(0))


def test_a_source_is_never_held_whole_to_be_measured():
    class Counted(data.Arrays):
        most = 0

        def batch(self, rows):
            self.most = max(self.most, len(rows))
            return super().batch(rows)

    source = Counted(torch.randint(0, 256, (3000, 1, 64, 64), dtype=torch.uint8))
    whole = data.Scale.to_unit_range(source.x, levels=256)
    measured = data.Scale.to_unit_range(source)
    assert source.most * 64 * 64 * 8 <= 32 << 20
    assert measured.mean == pytest.approx(whole.mean, rel=1e-12)
    assert measured.sigma_data == pytest.approx(whole.sigma_data, rel=1e-12)


def test_a_flip_mirrors_the_chosen_share_and_nothing_else():
    x = torch.randint(0, 256, (20_000, 1, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(data.HorizontalFlip(0.0)(x), x)
    assert torch.equal(data.HorizontalFlip(1.0)(x), x.flip(-1))
    y = data.HorizontalFlip(0.3)(x, torch.Generator().manual_seed(1))
    kept, flipped = (y == x).flatten(1).all(1), (y == x.flip(-1)).flatten(1).all(1)
    assert bool((kept | flipped).all())
    asymmetric = (x != x.flip(-1)).flatten(1).any(1)
    share, n = float(flipped[asymmetric].double().mean()), int(asymmetric.sum())
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / n)  # 5 standard errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Scale.to_unit_range(torch.rand(3, 2)), "continuous data have no range"),
        (lambda: data.Scale.to_standard(torch.ones(3, 2)), "every entry is 1"),
        (lambda: data.Scale.to_standard(torch.tensor([[1.0, math.inf]])), "x_raw must be finite"),
        (lambda: data.Standardize.measured(torch.ones(3, 2)), "constant column 0, column 1"),
        (
            lambda: data.Standardize.measured(data.Arrays(torch.tensor([[1.0, 2], [3, 2]]), columns=("a", "b"))),
            "leave out the constant b",
        ),
        (lambda: data.Standardize.measured(torch.rand(3, 1, 2)), r"events of shape \(d,\); got \(1, 2\)"),
        (lambda: data.Standardize((0.0,), (0.0,)), "column_std positive"),
        (lambda: data.Standardize((0.0,), (1.0, 1.0)), "one length"),
        (lambda: data.Standardize((0.0,), (1.0,))(torch.zeros(2, 2)), r"has 1 columns; got shape \(2, 2\)"),
        (lambda: data.Standardize((0.0,), (1.0,)).log_jacobian(2), "dims must be the 1 columns"),
        (lambda: data.HorizontalFlip(1.5), r"probability must lie in \[0, 1\]; got 1.5"),
    ],
)
def test_transforms_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_noise_integers_stand_in_the_middle_of_their_bins_and_have_no_bits_per_dimension():
    x_raw = torch.arange(17, dtype=torch.uint8).reshape(1, 1, 1, 17)
    bare = data.Scale.to_standard(x_raw, levels=17, noise=False)
    x = bare.dequantize(x_raw, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, bare(x_raw.float() + 0.5), rtol=0, atol=0)
    assert torch.equal(bare.quantize(x), x_raw.long())
    with pytest.raises(ValueError, match="bits per dimension need a model of dequantised data"):
        data.bits_per_dim(torch.zeros(3), bare, 17)
