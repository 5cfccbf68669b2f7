import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from scorefield.inverse import operators as ops

f64 = torch.float64
MODES = {"circular": "wrap", "reflect": "mirror", "zero": "constant"}


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (4, 3), (1, 1)])
def test_blur_is_scipys_convolution_with_the_same_border(padding, shape):
    x, kernel = normal(6, 7), normal(*shape, seed=1)
    expected = scipy.ndimage.convolve(x.numpy(), kernel.numpy(), mode=MODES[padding])
    assert np.allclose(ops.Blur(kernel, (6, 7), padding)(x[None])[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("padding", MODES)
def test_blur_by_a_point_is_the_identity_and_off_centre_a_shift(padding):
    x = normal(2, 1, 6, 7)
    point = torch.zeros(3, 3)
    point[1, 1] = 1
    assert torch.allclose(ops.Blur(point, (1, 6, 7), padding)(x), x, atol=1e-14)
    right = torch.zeros(3, 3)
    right[1, 2] = 1
    moved = ops.Blur(right, (1, 6, 7), padding)(x)
    assert torch.allclose(moved[..., 1:], x[..., :-1], atol=1e-14)


@pytest.mark.parametrize("padding", ["circular", "reflect"])
def test_a_normalised_kernel_keeps_constants(padding):
    x = torch.ones(1, 9, 9, dtype=f64)
    for kernel in (ops.gaussian_kernel(0.8), ops.motion_kernel(4.0, 0.5)):
        assert torch.allclose(ops.Blur(kernel, (9, 9), padding)(x), x, atol=1e-12)


def test_gaussians_convolve_to_a_gaussian_of_the_summed_variance():
    x = torch.zeros(1, 65, 65, dtype=f64)
    x[0, 32, 32] = 1
    once = ops.Blur(ops.gaussian_kernel(3.0), (65, 65))
    twice = ops.Blur(ops.gaussian_kernel(2.0), (65, 65)) @ ops.Blur(ops.gaussian_kernel(math.sqrt(5)), (65, 65))
    # sampled, not continuous, and cut off at 4 std: 6e-5 of the mass
    assert float((once(x) - twice(x)).abs().max()) < 2e-4 * float(once(x).max())


def test_a_motion_kernel_is_a_line_of_its_length_and_direction():
    kernel = ops.motion_kernel(10.0, math.pi / 6)
    n = len(kernel)
    i = torch.arange(n, dtype=f64) - n // 2
    assert float(kernel.sum()) == pytest.approx(1)
    x, y = (kernel * i).sum(), -(kernel * i[:, None]).sum()
    assert (float(x), float(y)) == pytest.approx((0, 0), abs=1e-12)
    var = torch.stack([(kernel * i**2).sum(), -(kernel * i[:, None] * i).sum(), (kernel * i[:, None] ** 2).sum()])
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    line = torch.tensor([c * c, c * s, s * s], dtype=f64) * 100 / 12
    spread = var - line  # of sharing with neighbours: f (1 - f) along each axis, at most 1/4, on average 1/6
    assert float(spread[1]) == pytest.approx(0, abs=1e-2)
    assert float(spread[0]) == pytest.approx(1 / 6, abs=0.03)
    assert float(spread[2]) == pytest.approx(1 / 6, abs=0.03)


def test_circular_deconvolution_is_exact_where_no_frequency_is_lost():
    x = normal(1, 8, 9)
    operator = ops.Blur(ops.gaussian_kernel(0.6), (8, 9))
    assert torch.allclose(operator.pseudo_inverse(operator(x)), x, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Blur(torch.ones(3, 3), (8,)), r"kernel must be finite, with 1 to 1 axes; got shape \(3, 3\)"),
        (lambda: ops.Blur(torch.tensor([math.inf]), (8,)), "kernel must be finite"),
        (
            lambda: ops.Blur(torch.ones(3), (8,), **{"padding": "wrap"}),
            "padding must be 'circular', 'reflect' or 'zero'; got 'wrap'",
        ),
        (lambda: ops.Blur(torch.ones(9), (4,), "reflect"), "a kernel of at most 7 along an axis of 4; got 9"),
        (lambda: ops.gaussian_kernel(0), "std must be positive; got 0"),
        (lambda: ops.gaussian_kernel(1, 4), "size must be odd, for the middle to be a pixel; got 4"),
        (lambda: ops.motion_kernel(-1), "length must be positive; got -1"),
    ],
)
def test_impossible_kernels_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
