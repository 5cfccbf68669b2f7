import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from scorefield.inverse import operators as ops

f64 = torch.float64
WRONG: Any = "wrong"
SHAPE: Any = (1, 16, 16)
WRONG_SHAPE: Any = 4


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def test_a_mask_gives_the_known_entries_in_order_and_puts_them_back():
    known = torch.tensor([[True, False], [False, True]])
    operator = ops.Mask(known, (3, 2, 2))
    x = normal(2, 3, 2, 2)
    y = operator(x)
    assert torch.equal(y, torch.stack([x[:, :, 0, 0], x[:, :, 1, 1]], 2).flatten(1))
    assert torch.equal(operator.adjoint(y), x * known)
    assert torch.equal(operator.pseudo_inverse(y), x * known)


def test_the_mean_of_blocks_is_average_pooling():
    x = normal(2, 3, 8, 12)
    assert torch.allclose(ops.Downsample(4, (3, 8, 12))(x), functional.avg_pool2d(x, 4), atol=1e-15)


def test_the_adjoint_of_the_mean_spreads_a_pixel_over_its_block():
    y = normal(1, 1, 2, 3)
    spread = functional.interpolate(y, scale_factor=4, mode="nearest") / 16
    assert torch.allclose(ops.Downsample(4, (1, 8, 12)).adjoint(y), spread, atol=1e-15)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_bicubic_is_the_antialiased_resize_of_torch(factor):
    x = normal(1, 2, 12, 24)
    expected = functional.interpolate(x, (12 // factor, 24 // factor), mode="bicubic", antialias=True)
    assert torch.allclose(ops.Downsample(factor, (2, 12, 24), "bicubic")(x), expected, atol=1e-12)


def test_grey_is_the_luminance_and_its_inverse_the_least_colour():
    x = normal(1, 3, 2, 2)
    operator = ops.Greyscale((3, 2, 2))
    assert torch.allclose(operator(x)[:, 0], 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])
    least = operator.pseudo_inverse(operator(x))
    w = torch.tensor([0.299, 0.587, 0.114], dtype=f64)
    assert torch.allclose(least, operator(x) * (w / w.dot(w))[:, None, None])


def test_operators_compose_scale_and_stack():
    x = normal(2, 1, 6, 6)
    a, b = ops.Downsample(3, (1, 6, 6)), ops.Blur(ops.gaussian_kernel(0.7), (1, 6, 6), "reflect")
    assert torch.equal((a @ b)(x), a(b(x)))
    assert torch.equal((2 * a)(x), 2 * a(x))
    assert torch.equal((a * -3)(x), -3 * a(x))
    both = ops.stack(a, b)
    first, second = both.split(both(x))
    assert torch.equal(first, a(x))
    assert torch.equal(second, b(x))


def test_what_does_not_fit_together_is_refused():
    a = ops.Downsample(3, (1, 6, 6))
    with pytest.raises(ValueError, match=r"A @ B needs B's output to be A's event; got \(1, 2, 2\) and \(1, 6, 6\)"):
        _ = a @ a
    with pytest.raises(ValueError, match="stack needs operators of one event_shape"):
        ops.stack(a, ops.Downsample(2, (1, 4, 4)))
    with pytest.raises(ValueError, match="factor must be finite; got nan"):
        _ = math.nan * a
    with pytest.raises(TypeError):
        _ = a @ 3  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = "2" * a  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Mask(torch.ones(3)), "known must be bool, True where x is known; got torch.float32"),
        (lambda: ops.Mask(torch.zeros(3) > 0), "known must be True somewhere"),
        (lambda: ops.Mask(torch.ones(3) > 0, (4,)), r"known must broadcast to \(4,\); got \(3,\)"),
        (lambda: ops.Downsample(3, (1, 8, 9)), r"H and W must be multiples of the factor 3; got \(1, 8, 9\)"),
        (
            lambda: ops.Downsample(SHAPE, WRONG_SHAPE),
            r"Downsample: event_shape must be the sizes of one x, as \(1, 28, 28\); got 4",
        ),
        (lambda: ops.Greyscale((3, 8, 0)), r"event_shape must be the sizes of one x, .*; got \(3, 8, 0\)"),
        (
            lambda: ops.Downsample(2, (8, 8), kernel=WRONG),
            "kernel must be 'average' or 'bicubic'; got 'wrong'",
        ),
        (lambda: ops.Greyscale((1, 8, 8)), "event_shape must begin with the 3 channels"),
        (lambda: ops.Separable(torch.ones(2, 3), torch.ones(2, 3), (3, 4)), r"must be \(h, H\) and \(w, W\)"),
        (lambda: ops.Diagonal(torch.ones(3), (2,)), r"weights must broadcast to \(2,\); got \(3,\)"),
        (lambda: ops.Nonlinear(lambda x: x.sum(), (2,)), r"the function must take \(1, 2\) to \(1, ...\); got \(\)"),
        (lambda: ops.Sparse(torch.eye(3).to_sparse(), (2,)), r"matrix must have shape \(M, 2\); got \(3, 3\)"),
        (lambda: ops.as_operator(ops.Mask(torch.ones(2) > 0), (3,)), r"event_shape must be \(3,\); got \(2,\)"),
    ],
)
def test_impossible_operators_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_operator_is_refused():
    with pytest.raises(TypeError, match=r"obj must be an operator, a matrix.*; got str"):
        ops.as_operator("radon", (3,))


def test_a_wrong_x_is_refused():
    with pytest.raises(
        ValueError, match=r"Mask: x must be floating point of shape \(B, 2\); got torch.float32, \(1, 3\)"
    ):
        ops.Mask(torch.ones(2) > 0)(torch.zeros(1, 3))
