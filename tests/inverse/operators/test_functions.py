"""Functions of others: batches of real numbers, each row by itself, the same every time; anything else in one line."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

import scorefield as sf
from scorefield import checks, inverse
from scorefield.inverse import operators as ops
from scorefield.inverse.operators import Dense, Linear, Sparse, as_operator

f64 = torch.float64
M = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.3, 0.2]])
I2 = np.eye(2)


class Half(scipy.sparse.linalg.LinearOperator):
    """A without an adjoint."""

    def __init__(self):
        super().__init__(np.float64, (3, 2))

    def _matvec(self, x):
        return M.numpy() @ x


class Fourier:
    A = staticmethod(torch.fft.fft)
    A_adjoint = staticmethod(lambda y: 2 * torch.fft.ifft(y).real)


def net(*layers):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), *layers)


BATCHED = r"must take a batch \(B, 2\), in float64 or float32, as torch.vmap"
ROWS = r"must give each row the same numbers every time, whatever rows stand beside it"
REAL = r"must give real numbers, a complex one as two in a last dimension \(torch.view_as_real\); got torch.complex"
MATRIX = r"matrix must be real, the rows of its imaginary part below the others; got torch.complex"
REFUSED = {
    "of one event": (lambda x: M @ x, (2,), BATCHED),
    "of one event, by luck": (lambda x: x[0], (1,), r"must take \(2, 1\) to \(2, ...\), .*; got \(1,\)"),
    "of one event, silently": (lambda x: x / x.norm(), (2,), ROWS),
    "of one picture, silently": (lambda x: x - x.mean(), (3, 4, 4), ROWS),
    "of the batch": (lambda x: x - x.mean(0), (2,), ROWS),
    "in another order": (lambda x: x.flip(0), (2,), ROWS),
    "of chance": (lambda x: x + torch.randn_like(x), (2,), ROWS),
    "dropout": (net(torch.nn.Dropout(0.5)), (2,), ROWS),
    "batch norm": (net(torch.nn.BatchNorm1d(3)), (2,), r"it raised ValueError: Expected more than 1 value per channel"),
    "complex": (lambda x: torch.fft.fft(x), (2,), REAL),
    "complex, with its adjoint": (Fourier(), (2,), REAL),
    "complex SciPy": (scipy.sparse.linalg.aslinearoperator(1j * I2), (2,), REAL),
    "complex matrix": (1j * torch.eye(2), (2,), MATRIX),
    "complex array": (1j * I2, (2,), MATRIX),
    "complex sparse": ((1j * torch.eye(2)).to_sparse(), (2,), MATRIX),
    "complex sparse array": (scipy.sparse.coo_array(1j * I2), (2,), MATRIX),
    "truth": (lambda x: x > 0, (2,), r"must give real numbers, .*; got torch.bool"),
    "NumPy's": (lambda x: x.numpy(), (2,), r"must take \(2, 2\) to \(2, ...\), .*; got ndarray"),
    "a tuple": (lambda x: (x, x), (2,), r"must take \(2, 2\) to \(2, ...\), .*; got tuple"),
    "half precision alone": (lambda x: x @ M.half().T, (2,), BATCHED + r".*float32, \(1, 2\) it raised RuntimeError"),
    "no adjoint": (Half(), (2,), r"the adjoint must take a batch \(B, 3\), .* it raised \w+Error"),
}


@pytest.mark.parametrize(("obj", "shape", "message"), REFUSED.values(), ids=REFUSED)
def test_others_are_refused_when_they_are_wrapped(obj, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        as_operator(obj, shape)
    assert "\n" not in str(error.value)


def test_linear_maps_and_matrices_are_refused_by_themselves_too():
    with pytest.raises(ValueError, match="the function " + BATCHED):
        Linear(lambda x: M @ x, lambda y: M.T @ y, (2,))
    with pytest.raises(ValueError, match="the adjoint " + ROWS):
        Linear(lambda x: x, lambda y: y - y.mean(0), (2,))
    for make in (Dense, lambda m: Sparse(m.to_sparse())):
        with pytest.raises(ValueError, match=MATRIX):
            make(1j * torch.eye(2))


def test_a_class_of_ones_own_is_looked_at_too():
    class Twice(Linear):
        def __init__(self):
            super().__init__(lambda x: 2 * x, lambda y: y, (2,))

    with pytest.raises(ValueError, match=r"the adjoint is not that of the operator: <x, A\^T A x> is 0.5 times"):
        Twice()


@pytest.mark.parametrize("method", [inverse.DPS(), inverse.TwistedSMC(), inverse.REDDiff(), inverse.DAPS()], ids=repr)
def test_a_function_without_a_derivative_can_be_applied_and_is_refused_by_what_asks_for_it(method):
    operator = as_operator(lambda x: (x @ M.T.to(x)).detach(), (2,))
    assert operator(torch.ones(1, 2)).shape == (1, 3)
    given = inverse.GaussianNoise(operator, torch.zeros(1, 3), 0.3)
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.VP())
    with pytest.raises(ValueError, match="the function has no derivative: its result must be made of x by operations"):
        inverse.condition(denoiser, given, method).sample(2, nfe=8)


def float32_only(x):
    assert x.dtype == torch.float32, "float32, please"
    return x @ M.T


TAKEN = {
    "of one event, by vmap": (torch.vmap(lambda x: M.to(x) @ x), (2,)),
    "by vmap, in float32": (torch.vmap(lambda x: M @ x), (2,)),
    "that asserts its dtype": (float32_only, (2,)),
    "a network": (net(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(3)).eval().requires_grad_(False), (2,)),
    "of channels": (lambda x: torch.nn.functional.avg_pool2d(x, 2), (3, 4, 4)),
    "to one number": (lambda x: x.flatten(1).sum(1), (3, 4)),
    "not defined everywhere": (lambda x: (x - 0.5).log(), (2,)),
    "infinite somewhere": (lambda x: torch.where(x > 0.5, 1 / (0 * x), x), (2,)),
    "in steps": (lambda x: x + (x * 255).round() / 255, (3, 8, 8)),
    "nothing": (lambda x: 0 * x, (2,)),
    "a scalar event": (lambda x: 2 * x, ()),
}


@pytest.mark.parametrize(("obj", "shape"), TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
def test_these_are_taken(obj, shape, dtype):
    operator = as_operator(obj, shape)
    y = operator(torch.rand(3, *shape, dtype=dtype))
    assert y.dtype == dtype
    assert y.shape == (3, *operator.output_shape)


def test_a_complex_measurement_is_its_two_parts():
    """|F x|^2 of both parts is that of the transform, and the posterior is the one of the real matrix."""
    parts = as_operator(lambda x: torch.view_as_real(torch.fft.fft(x)).flatten(1), (2,))
    matrix = parts(torch.eye(2, dtype=f64)).T
    law = sf.Gaussian(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64))
    y = torch.tensor([[0.8, 0.0, 0.4, 0.0]], dtype=f64)
    truth = law.posterior(matrix, y[0], 0.5)
    denoiser = sf.ExactDenoiser(law, sf.Rectified())
    for operator in (parts, ops.Dense(matrix)):
        given = inverse.GaussianNoise(operator, y, 0.5)
        x = inverse.condition(denoiser, given, inverse.TwistedSMC()).sample(2000, nfe=30).x[0]
        assert float(((x.mean(0) - truth.mean) / truth.variance.sqrt()).abs().max()) < 0.15


@pytest.mark.parametrize(
    ("fn", "is_linear"),
    [
        (lambda x: x[:, ::2] - 3 * x.sum(1, keepdim=True), True),
        (lambda x: x.cumsum(1), True),
        (lambda x: x + 1, False),
        (lambda x: x.abs(), False),
        (lambda x: x.clamp(-100, 100), False),
        (lambda x: (x * 1000).round() / 1000, False),
        (lambda x: torch.from_numpy(2 * x.numpy()), False),  # which has no derivative
    ],
)
def test_a_linear_function_is_found_to_be_so_and_has_its_adjoint(fn, is_linear):
    operator = ops.as_operator(fn, (6,))
    assert isinstance(operator, ops.LinearOperator) == is_linear
    assert not isinstance(ops.as_operator(fn, (6,), linear=False), ops.LinearOperator)
    if is_linear:
        checks.check_operator(operator)
        columns = operator(torch.eye(6, dtype=torch.float64))
        given = inverse.GaussianNoise(operator, columns[:1], 0.1)  # so the bridge solves it, as it does a matrix
        law = sf.ExactDenoiser(sf.Gaussian(torch.zeros(6), torch.eye(6)), sf.VP())
        means = [
            inverse.condition(law, g).sample(300, nfe=8).mean
            for g in (given, replace(given, operator=ops.Dense(columns.T)))
        ]
        torch.testing.assert_close(means[0], means[1], rtol=1e-3, atol=1e-3)
    else:
        with pytest.raises(ValueError, match="the function is not linear: "):
            ops.as_operator(fn, (6,), linear=True)
