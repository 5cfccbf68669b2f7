"""Fourier, phase retrieval, compressed sensing, JPEG."""

import io
import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from PIL import Image

from scorefield.data import phantoms
from scorefield.inverse import operators as ops
from scorefield.inverse.operators.compressed import dct, hadamard, idct

f64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_all_of_k_space_is_the_centred_unitary_transform(size):
    x = normal(2, 2, *size)
    operator = ops.Fourier(torch.ones(size, dtype=torch.bool), (2, *size))
    image = np.fft.ifftshift((x[:, 0] + 1j * x[:, 1]).numpy(), (1, 2))
    expected = np.fft.fftshift(np.fft.fft2(image, norm="ortho"), (1, 2))
    y = operator(x)
    assert np.allclose(torch.view_as_complex(y).reshape(2, *size).numpy(), expected, atol=1e-13)
    assert torch.allclose(operator.adjoint(y), x, atol=1e-13)
    assert torch.allclose(y.square().sum((1, 2)), x.square().sum((1, 2, 3)))
    assert torch.allclose(operator.samples(torch.from_numpy(expected)), y, atol=1e-13)


def test_the_zero_frequency_is_in_the_middle_of_the_mask():
    mask = torch.zeros(6, 7, dtype=torch.bool)
    mask[3, 3] = True
    x = normal(1, 1, 6, 7)
    y = ops.Fourier(mask)(x)
    assert torch.allclose(y[0, 0], torch.tensor([float(x.sum()) / math.sqrt(42), 0.0], dtype=f64), atol=1e-13)


def test_coils_combine_to_the_image_and_each_sees_its_own_weighting():
    maps = ops.coil_maps(4, (8, 6))
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(8, 6, dtype=f64))
    full = torch.ones(8, 6, dtype=torch.bool)
    operator = ops.Fourier(full, (2, 8, 6), maps)
    x = normal(1, 2, 8, 6)
    assert torch.allclose(operator.adjoint(operator(x)), x, atol=1e-13)
    weighted = maps[2] * torch.complex(x[:, 0], x[:, 1])
    alone = ops.Fourier(full, (2, 8, 6))(torch.stack([weighted.real, weighted.imag], 1))
    assert torch.allclose(operator(x)[:, 2], alone, atol=1e-13)


def test_half_of_k_space_is_all_of_a_real_image():
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[:, 3:] = True
    x = normal(1, 1, 7, 7)
    operator = ops.Fourier(mask)
    assert torch.allclose(operator.pseudo_inverse(operator(x)), x, atol=1e-12)


def test_cartesian_masks_keep_the_centre_and_the_number_of_columns():
    for kind in ("random", "equispaced"):
        mask = ops.cartesian_mask((10, 64), 4, kind=kind, seed=1)
        columns = mask.all(0)
        assert torch.equal(mask.any(0), columns)
        assert int(columns.sum()) == 16
        assert bool(columns[30:35].all())  # 8 % of 64 round the middle, 32
        assert torch.equal(mask, ops.cartesian_mask((10, 64), 4, kind=kind, seed=1))
        assert not torch.equal(mask, ops.cartesian_mask((10, 64), 4, kind=kind, seed=2))
    gaps = ops.cartesian_mask((1, 256), 4, centre=0.01, kind="equispaced")[0].nonzero().squeeze().diff()
    assert int(gaps.max()) <= 5


def test_radial_masks_are_lines_through_the_middle():
    mask = ops.radial_mask((9, 9), 2)
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[4], expected[:, 4] = True, True
    assert torch.equal(mask, expected)
    assert 0.15 < float(ops.radial_mask((128, 128), 30).double().mean()) < 0.3


def test_phase_retrieval_does_not_see_signs_reversals_and_shifts():
    operator = ops.PhaseRetrieval((1, 5, 6))
    x = normal(1, 1, 5, 6)
    x[..., -1, :], x[..., -1] = 0, 0  # room to shift within the event
    y = operator(x)
    for same in (-x, x.roll(1, 2), x.roll(1, 3), x.flip(2, 3)):
        assert torch.allclose(operator(same), y, atol=1e-13)
    assert not torch.allclose(operator(x.flip(2)), y, atol=1e-3)
    assert torch.allclose(y.square().sum(), x.square().sum())


def test_the_derivative_of_a_modulus_at_nothing_is_nothing():
    x = torch.zeros(1, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(ops.PhaseRetrieval((4, 4))(x).sum(), x)
    assert torch.equal(slope, torch.zeros(1, 4, 4))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 15])
def test_the_cosine_transform_is_scipys(n):
    x = normal(3, n)
    expected: Any = scipy.fft.dct(x.numpy(), norm="ortho")
    assert np.allclose(dct(x).numpy(), expected, atol=1e-13)
    assert torch.allclose(idct(dct(x)), x, atol=1e-13)


def test_the_hadamard_transform_is_scipys():
    x = normal(3, 16)
    assert np.allclose(hadamard(x).numpy(), x.numpy() @ scipy.linalg.hadamard(16) / 4, atol=1e-13)


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
def test_random_projections_keep_lengths_on_average_and_rows_depend_on_the_seed_alone(law):
    matrix = ops.random_matrix(400, (2, 50), law=law, seed=3).matrix
    fewer = ops.random_matrix(10, (2, 50), law=law, seed=3).matrix
    assert torch.allclose(fewer * math.sqrt(10), matrix[:10] * 20)
    x = normal(100)
    # chi^2 with 400 degrees of freedom over 400: a standard deviation of sqrt(2 / 400), and four of them
    assert float((matrix @ x).square().sum() / x.square().sum()) == pytest.approx(1, abs=4 * math.sqrt(2 / 400))
    if law == "rademacher":
        assert torch.allclose(matrix.abs(), torch.full((400, 100), 0.05, dtype=f64))


@pytest.mark.parametrize("quality", [10, 50, 90, 100])
def test_jpeg_is_pillows(quality):
    image = (phantoms.shepp_logan(32)[0, 0] * 200 + torch.linspace(0, 50, 32)).round().to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image.numpy()).save(buffer, "JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(buffer))).double()
    ours = ops.JPEG((32, 32), quality, white=255.0)(image[None].double())[0].clamp(0, 255)
    # Pillow's cosine transforms are in integers, and its result is rounded: a coefficient may be rounded the other way
    assert float((ours - expected).abs().mean()) < 0.7
    assert float((ours - expected).abs().median()) < 0.5


def test_jpeg_of_colours_is_pillows():
    grey = phantoms.shepp_logan(48)[0, 0]
    ramp = torch.linspace(0, 1, 48)
    image = (
        (torch.stack([grey, 0.5 * grey + 0.3 * ramp, 0.6 * ramp[:, None].expand(48, 48)]) * 255).round().to(torch.uint8)
    )
    for subsample, code in ((False, 0), (True, 2)):
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, "JPEG", quality=75, subsampling=code)
        expected = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).double()
        ours = ops.JPEG((3, 48, 48), 75, white=255.0, subsample=subsample)(image[None].double())[0].clamp(0, 255)
        gap, loss = (ours - expected).square().mean().sqrt(), (image - expected).square().mean().sqrt()
        assert float(gap) < 0.4 * float(loss)  # Pillow rounds every colour, twice, and interpolates what it has thinned


def test_the_derivative_of_jpeg_is_straight_through():
    x, tangent = normal(1, 1, 9, 16), normal(1, 1, 9, 16, seed=1)
    forward = torch.func.jvp(ops.JPEG((1, 9, 16), 30), (x,), (tangent,))
    assert torch.allclose(forward[1], tangent, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Fourier(torch.ones(4, 4)), "mask must be bool"),
        (lambda: ops.Fourier(torch.ones(4, 4) > 0, (3, 4, 4)), r"event_shape must be \(4, 4\), .* got \(3, 4, 4\)"),
        (lambda: ops.Fourier(torch.ones(4, 4) > 0, None, torch.ones(2, 4, 5)), r"coils must be \(C, 4, 4\)"),
        (lambda: ops.cartesian_mask((8, 64), 32), "leave the 5 columns of the centre; got 32: 2 of 64"),
        (lambda: ops.cartesian_mask((8, 64), **{"kind": "poisson"}), "kind must be 'random' or 'equispaced'"),
        (lambda: ops.radial_mask((8, 8), 0), "spokes must be at least 1; got 0"),
        (lambda: ops.coil_maps(0, (8, 8)), "coils must be at least 1"),
        (lambda: ops.PhaseRetrieval((4, 4), 0.5), "oversampling at least 1"),
        (lambda: ops.random_matrix(0, (4,)), "m must be at least 1; got 0"),
        (lambda: ops.random_matrix(2, (4,), **{"law": "cauchy"}), "law must be 'gaussian' or 'rademacher'"),
        (lambda: ops.SubsampledTransform(5, (4,)), r"m must lie in 1 .. 4, the entries of \(4,\); got 5"),
        (lambda: ops.SubsampledTransform(2, (6,), transform="hadamard"), "needs a power of two of entries; got 6"),
        (lambda: ops.SubsampledTransform(2, (6,), **{"transform": "dst"}), "transform must be 'dct' or 'hadamard'"),
        (lambda: ops.JPEG((2, 8, 8)), r"event_shape must be \(H, W\), \(1, H, W\) or \(3, H, W\); got \(2, 8, 8\)"),
        (lambda: ops.JPEG((8, 8), 0), "quality must lie in 1 .. 100"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
