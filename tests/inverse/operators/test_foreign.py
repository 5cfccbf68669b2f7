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
