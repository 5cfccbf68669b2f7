import math

import pytest
import scipy.sparse
import torch

from scorefield import checks
from scorefield.inverse import operators as ops

f64 = torch.float64
G = torch.Generator().manual_seed(0)
KNOWN = torch.rand(2, 6, 8, generator=G) < 0.4
SAMPLED = torch.rand(6, 7, generator=G) < 0.5
MATRIX = torch.randn(5, 12, dtype=f64, generator=G)
LOPSIDED = torch.rand(3, 4, dtype=f64, generator=G)


class Physics:
    def A(self, x):
        return x.flatten(1) @ MATRIX.to(x).T

    def A_adjoint(self, y):
        return (y @ MATRIX.to(y)).reshape(-1, 3, 4)


LINEAR = {
    "dense": ops.Dense(MATRIX, (3, 4)),
    "dense-tall": ops.Dense(MATRIX.T, (5,)),
    "mask": ops.Mask(KNOWN),
    "mask-channels": ops.Mask(KNOWN[:1], (3, 6, 8)),
    "greyscale": ops.Greyscale((3, 4, 5)),
    "diagonal": ops.Diagonal(torch.tensor([2.0, -0.5])[:, None, None], (2, 3, 4)),
    "average": ops.Downsample(2, (2, 6, 8)),
    "bicubic": ops.Downsample(4, (1, 8, 12), "bicubic"),
    "blur-circular": ops.Blur(LOPSIDED, (2, 6, 7)),
    "blur-circular-large": ops.Blur(ops.gaussian_kernel(2.0), (5, 8)),
    "blur-reflect": ops.Blur(LOPSIDED, (2, 6, 7), "reflect"),
    "blur-zero": ops.Blur(LOPSIDED, (6, 7), "zero"),
    "blur-1d": ops.Blur(torch.tensor([1.0, 2.0, 4.0]), (2, 9), "reflect"),
    "blur-3d": ops.Blur(torch.ones(2, 3, 1), (3, 4, 5), "zero"),
    "radon": ops.Radon((2, 6, 8), 5),
    "radon-free": ops.Radon((6, 8), [0.1, 2.0], spacing=0.7, matrix=False),
    "fourier": ops.Fourier(SAMPLED),
    "fourier-even": ops.Fourier(torch.rand(6, 8, generator=G) < 0.5, (6, 8)),
    "fourier-full": ops.Fourier(torch.ones(4, 6, dtype=torch.bool)),
    "fourier-complex": ops.Fourier(SAMPLED, (2, 6, 7)),
    "fourier-coils": ops.Fourier(SAMPLED, (1, 6, 7), ops.coil_maps(3, (6, 7))),
    "fourier-coils-complex": ops.Fourier(SAMPLED, (2, 6, 7), ops.coil_maps(2, (6, 7))),
    "gaussian-matrix": ops.random_matrix(5, (1, 4, 3)),
    "rademacher-matrix": ops.random_matrix(5, (1, 4, 3), law="rademacher"),
    "dct": ops.SubsampledTransform(6, (3, 5)),
    "hadamard": ops.SubsampledTransform(6, (4, 4), transform="hadamard"),
    "composed": ops.Downsample(2, (1, 6, 8)) @ ops.Blur(LOPSIDED, (1, 6, 8)),
    "scaled": -0.5 * ops.Fourier(SAMPLED),
    "stacked": ops.stack(ops.Mask(KNOWN), ops.Blur(LOPSIDED, (2, 6, 8)), ops.Radon((2, 6, 8), 2)),
    "sparse": ops.as_operator(MATRIX.to_sparse_csr(), (3, 4)),
    "scipy-sparse": ops.as_operator(scipy.sparse.coo_array(MATRIX.numpy()), (3, 4)),
    "scipy": ops.as_operator(scipy.sparse.linalg.aslinearoperator(MATRIX.numpy()), (3, 4)),
    "numpy": ops.as_operator(MATRIX.numpy(), (3, 4)),
    "physics": ops.as_operator(Physics(), (3, 4)),
}
NONLINEAR = {
    "phase": ops.PhaseRetrieval((1, 4, 5)),
    "jpeg": ops.JPEG((1, 9, 16)),
    "jpeg-colour": ops.JPEG((3, 17, 8), 80),
    "function": ops.as_operator(lambda x: torch.sin(x).sum(-1), (3, 4)),
    "after-linear": ops.PhaseRetrieval((1, 3, 4)) @ ops.Downsample(2, (1, 6, 8)),
    "before-linear": ops.Downsample(2, (1, 8, 8)) @ ops.PhaseRetrieval((1, 4, 4)),
    "scaled": 3 * ops.PhaseRetrieval((4, 5)),
    "stacked": ops.stack(ops.PhaseRetrieval((4, 4)), ops.Mask(torch.eye(4) > 0)),
}
CLOSED = [name for name, operator in LINEAR.items() if operator.svd() is not None]


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators_keep_the_contract(name):
    assert isinstance(LINEAR[name], ops.LinearOperator)
    checks.check_operator(LINEAR[name])


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_operators_keep_the_contract(name):
    assert not isinstance(NONLINEAR[name], ops.LinearOperator)
    checks.check_operator(NONLINEAR[name])


@pytest.mark.parametrize("name", LINEAR)
def test_the_adjoint_is_the_transposed_matrix(name):
    operator = LINEAR[name]
    y = torch.eye(math.prod(operator.output_shape), dtype=f64).reshape(-1, *operator.output_shape)
    assert torch.allclose(operator.adjoint(y).flatten(1), operator.dense(), atol=1e-12)


def test_the_closed_forms_are_where_they_should_be():
    without = {"radon", "radon-free", "composed", "stacked", "sparse", "scipy-sparse", "scipy", "physics"}
    without |= {"blur-reflect", "blur-zero", "blur-1d", "blur-3d", "fourier-coils", "fourier-coils-complex"}
    assert set(LINEAR) - set(CLOSED) == without


@pytest.mark.parametrize("name", CLOSED)
def test_singular_values_are_those_of_the_matrix(name):
    svd, matrix = LINEAR[name].svd(), LINEAR[name].dense()
    s = svd.singular_values.sort(descending=True).values
    exact = torch.linalg.svdvals(matrix)
    n = min(len(s), len(exact))
    assert torch.allclose(s[:n], exact[:n], atol=1e-10)
    assert float(torch.cat([s[n:], exact[n:], torch.zeros(1, dtype=f64)]).max()) < 1e-10
    unit = torch.eye(matrix.shape[1], dtype=f64).reshape(-1, *LINEAR[name].event_shape)
    rebuilt = svd.u(svd.singular_values * svd.vt(unit)).flatten(1).T
    assert torch.allclose(rebuilt, matrix, atol=1e-10)


@pytest.mark.parametrize("name", LINEAR)
def test_gram_solves_are_those_of_the_matrix(name):
    operator = LINEAR[name]
    matrix, y = operator.dense(), torch.randn(3, *operator.output_shape, dtype=f64, generator=G)
    c, d = torch.tensor([0.0, 0.3, 5.0], dtype=f64), torch.tensor([1.0, 0.2, 2.0], dtype=f64)
    solved = operator.gram_solve(y, c, d, tolerance=1e-12, iterations=2000)
    system = c[:, None, None] * (matrix @ matrix.T) + d[:, None, None] * torch.eye(len(matrix), dtype=f64)
    exact = torch.linalg.solve(system, y.flatten(1))
    assert torch.allclose(solved.x.flatten(1), exact, atol=1e-9 * float(exact.abs().max()))
    assert float(solved.residual.max()) < 1e-10
    assert bool((solved.iterations == 0).all()) == (name in CLOSED)
    unequal = 0.5 + torch.rand(1, *operator.output_shape, dtype=f64, generator=G)  # a variance for each number
    solved = operator.gram_solve(y, 0.7, unequal, tolerance=1e-12, iterations=2000)
    exact = torch.linalg.solve(0.7 * matrix @ matrix.T + torch.diag(unequal.flatten()), y.flatten(1).T).T
    assert torch.allclose(solved.x.flatten(1), exact, atol=1e-9 * float(exact.abs().max()))


@pytest.mark.parametrize("name", LINEAR)
def test_the_pseudo_inverse_is_that_of_the_matrix(name):
    operator = LINEAR[name]
    matrix, y = operator.dense(), torch.randn(2, *operator.output_shape, dtype=f64, generator=G)
    s = torch.linalg.svdvals(matrix)
    if name not in CLOSED and float(s[s > 1e-10 * s[0]].min() / s[0]) < 1e-3:
        pytest.skip("too ill-conditioned for conjugate gradients on A^T A")
    exact = y.flatten(1) @ torch.linalg.pinv(matrix, rtol=1e-6).T
    found = operator.pseudo_inverse(y, tolerance=1e-11, iterations=3000).flatten(1)
    assert torch.allclose(found, exact, atol=1e-5 * float(exact.abs().max()))


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_eigenvalues():
    q = torch.linalg.qr(torch.randn(12, 12, dtype=f64, generator=torch.Generator().manual_seed(0))).Q
    matrix = q @ torch.diag(torch.tensor([1.0, 5.0, 40.0] * 4, dtype=f64)) @ q.T
    solved = ops.conjugate_gradients(lambda u: u @ matrix, q[:2] + 0.1, tolerance=1e-10)
    assert int(solved.iterations.max()) <= 3
    assert torch.allclose(solved.x @ matrix, q[:2] + 0.1)


def test_conjugate_gradients_give_a_row_the_same_bits_in_any_batch():
    """Of a system that is applied entry by entry."""

    def apply(u):
        return 2.1 * u - u.roll(1, 1) - u.roll(-1, 1)

    y = torch.randn(5, 60, generator=torch.Generator().manual_seed(1))
    y[3] *= 1e-3
    y[4] = 0
    whole = ops.conjugate_gradients(apply, y)
    assert float(whole.residual.max()) < 6e-8 * 41  # float32 times the condition, 4.1 / 0.1
    assert float(whole.iterations[4]) == 0
    assert bool((whole.x[4] == 0).all())
    for i in range(5):
        alone = ops.conjugate_gradients(apply, y[i : i + 1])
        assert torch.equal(alone.x[0], whole.x[i])
        assert int(alone.iterations) == int(whole.iterations[i])


def test_a_solve_that_runs_out_of_iterations_says_what_is_left():
    operator = LINEAR["radon"]
    y = torch.randn(2, *operator.output_shape, dtype=f64, generator=G)
    solved = operator.gram_solve(y, 1.0, 1e-3, iterations=3)
    left = y - operator.gram(solved.x) - 1e-3 * solved.x
    assert solved.iterations.tolist() == [3, 3]
    assert torch.allclose(solved.residual, left.flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1))
    assert float(solved.residual.min()) > 1e-3


@pytest.mark.parametrize("shape", [(4,), (2, 5), (3, 5, 1)])
def test_a_variance_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"d must be a number, \(3,\) or broadcast to \(3, 5\); got"):
        LINEAR["dense"].gram_solve(torch.zeros(3, 5), 1.0, torch.ones(shape))


class Wrong(ops.LinearOperator):
    """Circular convolution whose adjoint forgot to turn the kernel round."""

    event_shape = output_shape = (6,)

    def forward(self, x):
        return x + 0.5 * x.roll(1, 1)

    def adjoint(self, y):
        return y + 0.5 * y.roll(1, 1)


def test_the_contract_finds_a_wrong_adjoint_and_a_function_of_the_batch():
    with pytest.raises(AssertionError, match="adjoint"):
        checks.check_operator(Wrong())
    with pytest.raises(AssertionError, match="a row alone must agree"):
        checks.check_operator(ops.Nonlinear(lambda x: x - x.mean(0), (3,), (3,)))
