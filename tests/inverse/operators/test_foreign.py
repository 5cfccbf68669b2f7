"""Other people's operators: in their own dtype, and with the adjoint they say they have."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

import scorefield as sf
from scorefield import inverse
from scorefield.inverse.operators import Linear, as_operator

f64 = torch.float64
M = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.3, 0.2]])
Y = torch.tensor([[0.8, 0.4, 0.3]])


class Physics:
    """deepinv's conventions, in float32 alone unless told otherwise."""

    def __init__(self, factor=1.0, cast=False, dtype=torch.float32):
        self.factor, self.cast, self.matrix = factor, cast, M.to(dtype)

    def A(self, x):
        return x @ (self.matrix.to(x) if self.cast else self.matrix).T

    def A_adjoint(self, y):
        return self.factor * (y @ (self.matrix.to(y) if self.cast else self.matrix))


def linear():
    net = torch.nn.Linear(2, 3, bias=False)
    net.weight.data = M.clone()
    return net.requires_grad_(False)


class Alone:
    A = staticmethod(lambda x: x @ M.T)


OBJECTS = {
    "methods in float32": Physics(),
    "methods in float64": Physics(dtype=f64),
    "methods in any dtype": Physics(cast=True),
    "A alone, in float32": Alone(),
    "a function in float32": lambda x: x @ M.T,
    "nn.Linear": linear(),
    "SciPy, float32": scipy.sparse.linalg.aslinearoperator(M.numpy()),
    "a matrix in float32": M,
    "NumPy": M.numpy().astype(np.float64),
}


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("obj", OBJECTS.values(), ids=OBJECTS)
def test_it_draws_from_the_posterior_whatever_dtype_it_computes_in(obj, dtype):
    law = sf.Gaussian(torch.zeros(2, dtype=dtype), torch.eye(2, dtype=dtype))
    given = inverse.GaussianNoise(as_operator(obj, (2,)), Y.to(dtype), 0.3)
    x = inverse.condition(sf.ExactDenoiser(law, sf.VP()), given).sample(2000, nfe=30).x[0].double()
    truth = law.posterior(M, Y[0], 0.3)
    assert float(((x.mean(0) - truth.mean) / truth.variance.sqrt()).abs().max()) < 0.25


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 1, 1)], ids=str)
def test_events_keep_their_shape(shape):
    linear_map = Linear(lambda x: x.flatten(1).float() @ M.T, lambda y: (y.float() @ M).reshape(len(y), *shape), shape)
    x = torch.randn(4, *shape, dtype=f64)
    assert linear_map(x).dtype == f64
    torch.testing.assert_close(linear_map(x), (x.flatten(1).float() @ M.T).double())
    torch.testing.assert_close(linear_map.adjoint(linear_map(x)).shape, x.shape)


@pytest.mark.parametrize("factor", [5.0, -3.0, 0.99, 0.0], ids=str)
@pytest.mark.parametrize("cast", [True, False], ids=["any dtype", "float32"])
def test_an_adjoint_that_is_none_is_refused_with_its_factor(factor, cast):
    with pytest.raises(ValueError, match=rf"<x, A\^T A x> is {factor:g} times \|A x\|\^2, not 1; give A alone"):
        as_operator(Physics(factor, cast), (2,))


def test_an_adjoint_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"the adjoint must give \(B, 2\); got \(3, 3\) for B = 3"):
        Linear(lambda x: x @ M.T.to(x), lambda y: y, (2,))


def test_another_map_of_the_right_size_is_no_adjoint():
    with pytest.raises(ValueError, match="the adjoint is not that of the operator"):
        Linear(lambda x: x @ M.T.to(x), lambda y: y[:, :2], (2,))


def turned(y):
    return torch.stack([-y[:, 1], y[:, 0]], 1)


WRONG = {  # <x, A^T A x> is |A x|^2 for every x, or nothing at all
    "off by a rotation": (lambda x: x, lambda y: y + turned(y)),
    "off where A gives nothing": (lambda x: torch.cat([x, 0 * x], 1), lambda y: y[:, :2] + y[:, 2:]),
    "of an operator that is 0": (lambda x: 0 * x, lambda y: y),
    "not a number": (lambda x: x, lambda y: y * float("nan")),
}


@pytest.mark.parametrize(("forward", "adjoint"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
def test_what_one_product_does_not_see_the_other_does(forward, adjoint, dtype):
    with pytest.raises(ValueError, match=r"the adjoint is not that of the operator: .*, not 1"):
        Linear(lambda x: forward(x.to(dtype)), lambda y: adjoint(y.to(dtype)), (2,))


def test_an_operator_that_is_0_has_an_adjoint():
    assert not Linear(lambda x: 0 * x, lambda y: 0 * y, (2,))(torch.ones(1, 2)).any()


def test_channels_and_convolutions_in_float32_have_one():
    kernel = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    operator = Linear(
        lambda x: torch.nn.functional.conv2d(x, kernel),
        lambda y: torch.nn.functional.conv_transpose2d(y, kernel),
        (3, 32, 32),
    )
    assert operator.output_shape == (4, 30, 30)
    for dtype in (torch.float32, f64, torch.bfloat16):
        assert operator(torch.zeros(2, 3, 32, 32, dtype=dtype)).dtype == dtype


def test_an_interpolation_is_no_adjoint_of_a_picture_s_subsampling():
    """Of as many numbers that they agree by 1e-3 in <x, A^T A x>: |A^T y|^2 is four times <y, A A^T y>."""
    side = 1024
    with pytest.raises(ValueError, match="the adjoint is not that of the operator"):
        Linear(
            lambda x: x[..., ::2, ::2], lambda y: y.repeat_interleave(2, -1).repeat_interleave(2, -2), (1, side, side)
        )
