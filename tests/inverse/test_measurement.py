import math
from typing import Any

import pytest
import scipy.sparse
import torch
from torch.distributions import Normal

from rounding import carried, gamma, product, same
from scorefield import inverse
from scorefield.data import Scale, Standardize
from scorefield.inverse import GaussianNoise, simulate
from scorefield.inverse.operators import Dense, Downsample, Fourier, LinearOperator, PhaseRetrieval

MATRIX = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], dtype=torch.float64)
Y = torch.tensor([[1.0, 0.5], [-2.0, 0.1]], dtype=torch.float64)
X0 = torch.tensor([[0.3, 0.1, 0.2], [1.0, -1.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize("std", [0.3, torch.tensor([0.3, 2.0]), torch.tensor([[0.3, 2.0], [1.0, 0.1]])])
def test_log_prob_is_the_sum_of_normal_log_densities(std):
    expected = Normal(X0 @ MATRIX.T, torch.as_tensor(std, dtype=torch.float64).expand(2, 2)).log_prob(Y).sum(1)
    assert torch.allclose(GaussianNoise(Dense(MATRIX), Y, std).log_prob(X0), expected, rtol=1e-6)


def test_chi2_at_the_truth_has_as_many_degrees_of_freedom_as_numbers_measured():
    x0 = torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x0 @ MATRIX.T + 0.2 * torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    chi2 = GaussianNoise(Dense(MATRIX), y, 0.2).chi2(x0)
    assert float(chi2.mean()) == pytest.approx(2, abs=4 * 2 / math.sqrt(4000))  # four standard errors


@pytest.mark.rounding
def test_rows_repeat_observations_with_their_own_noise():
    likelihood = GaussianNoise(Dense(MATRIX), Y, torch.tensor([[0.3, 2.0], [1.0, 0.1]]))
    index = torch.tensor([1, 1, 0])
    want = likelihood.log_prob(X0)[index]
    same(likelihood.rows(index).log_prob(X0[index]), want, carried(lambda: likelihood.log_prob(X0), 3, X0.dtype))


@pytest.mark.parametrize(
    ("y", "std", "message"),
    [
        (torch.zeros(2, 3), 1.0, r"y must be real numbers of shape \(B, 2\); got torch.float32, \(2, 3\)"),
        (torch.tensor([[math.nan, 0.0]]), 1.0, "y must be finite"),
        (torch.zeros(1, 2), 0.0, "noise_std must be positive and finite; got a smallest of 0"),
        (torch.zeros(1, 2), torch.ones(3), r"noise_std must be a number, or have shape \(2,\) or \(1, 2\); got \(3,\)"),
    ],
)
def test_bad_observations_are_refused_in_one_line(y, std, message):
    with pytest.raises(ValueError, match=message):
        GaussianNoise(Dense(MATRIX), y, std)


def test_the_dense_matrix_of_an_operator_is_the_one_it_was_made_of():
    assert torch.equal(Dense(MATRIX).dense(), MATRIX)


def test_a_standardized_likelihood_has_the_same_chi2_in_the_models_units():
    operator = Downsample(2, (2, 4, 4))
    raw = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 40 + 100
    likelihood = GaussianNoise(operator, operator(raw) + 1.5, 2.0)
    for scale, shift in ((50.0, 90.0), (torch.tensor([30.0, 60.0])[:, None, None], torch.rand(2, 4, 4))):
        x = (raw - shift) / scale
        moved = likelihood.standardized(scale, shift)
        assert torch.allclose(moved.chi2(x), likelihood.chi2(raw), rtol=1e-10)
        assert torch.allclose(moved.log_prob(x), likelihood.log_prob(raw), rtol=1e-10)
        assert isinstance(moved.operator, LinearOperator)
    uniform = likelihood.standardized(50.0, 90.0).operator
    assert isinstance(uniform, LinearOperator)
    assert uniform.svd() is not None
    assert GaussianNoise(operator, operator(raw).float(), 2.0).standardized(50.0, 90.0).y.dtype == torch.float32


def test_a_nonlinear_measurement_is_standardized_by_its_argument():
    operator = PhaseRetrieval((1, 3, 3))
    raw = torch.randn(3, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    likelihood = GaussianNoise(operator, operator(raw) + 0.1, 0.2)
    assert torch.allclose(likelihood.standardized(0.3, -1.0).chi2((raw + 1) / 0.3), likelihood.chi2(raw))


@pytest.mark.parametrize("transform", [Scale(2 / 256, -1.0, 256), Standardize((3.0, -1.0, 0.5), (2.0, 0.1, 5.0))])
def test_a_likelihood_of_raw_data_is_taken_to_a_models_units_by_its_transform(transform):
    likelihood = GaussianNoise(Dense(MATRIX), Y, 0.3)
    assert torch.allclose(likelihood.for_model(transform).chi2(transform(X0)), likelihood.chi2(X0), rtol=1e-9)


def test_a_scale_that_is_not_finite_or_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="scale must be finite; got NaN or infinity"):
        GaussianNoise(Dense(MATRIX), Y, 0.3).standardized(math.inf)
    with pytest.raises(ValueError, match=r"shift must broadcast to \(3,\); got \(2,\)"):
        GaussianNoise(Dense(MATRIX), Y, 0.3).standardized(1.0, torch.zeros(2))


@pytest.mark.rounding
def test_simulated_measurements_are_of_their_truth_and_number_alone():
    truth = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    std = torch.tensor([0.3, 2.0], dtype=torch.float64)
    whole = simulate(Dense(MATRIX), truth, std, seed=5)
    alone = simulate(Dense(MATRIX), truth[7:8], std, seed=5, index=torch.tensor([7]))
    same(alone.y, whole.y[7:8], product(MATRIX, truth[7:8]) + gamma(2, truth.dtype) * whole.y[7:8].abs())  # and a sum
    assert not torch.equal(simulate(Dense(MATRIX), truth, std, seed=6).y, whole.y)
    noise = whole.y - truth @ MATRIX.T
    assert (noise.std(0) / std).tolist() == pytest.approx([1, 1], abs=4 / math.sqrt(1000))  # four standard errors


SEEN = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "y", [SEEN, SEEN.numpy(), SEEN.tolist(), SEEN.long()], ids=["tensor", "array", "list", "whole"]
)
@pytest.mark.parametrize(
    "matrix", [MATRIX, MATRIX.numpy(), scipy.sparse.csr_matrix(MATRIX.numpy()), MATRIX.to_sparse()]
)
def test_a_matrix_and_an_array_are_taken_as_they_come(matrix, y):
    given, plain = inverse.GaussianNoise(matrix, y, 0.5), inverse.GaussianNoise(Dense(MATRIX), SEEN, 0.5)
    x = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(given.log_prob(x), plain.log_prob(x))
    poisson = inverse.Poisson(matrix, y)
    torch.testing.assert_close(poisson.log_prob(x.abs()), inverse.Poisson(Dense(MATRIX), SEEN).log_prob(x.abs()))
    torch.testing.assert_close(inverse.simulate(matrix, x, 0.5).y, inverse.simulate(Dense(MATRIX), x, 0.5).y)


def test_complex_samples_and_a_whole_k_space_are_the_pairs_the_mask_takes():
    mask = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) > 0.4
    x = torch.randn(3, 1, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for coils in (None, torch.randn(2, 6, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))):
        part, whole = (Fourier(m, coils=coils) for m in (mask, torch.ones(6, 8, dtype=torch.bool)))
        y = part(x)
        grid = torch.view_as_complex(whole(x)).reshape(3, *whole.output_shape[:-2], 6, 8)
        samples = torch.view_as_complex(y)
        forms: list[Any] = [samples, samples.numpy(), grid, grid.to(torch.complex64)]
        for given in forms:
            torch.testing.assert_close(inverse.GaussianNoise(part, given, 0.1).y.double(), y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "y", "message"),
    [
        (torch.sin, SEEN, "operator must be an Operator, or a matrix .*; got builtin_function_or_method"),
        (Dense(MATRIX), SEEN[0], r"y must be real numbers of shape \(B, 2\); got torch.float64, \(2,\)"),
        (Dense(MATRIX), SEEN + 1j, r"y must be real numbers of shape \(B, 2\); got torch.complex128, \(2, 2\)"),
    ],
)
def test_what_is_no_measurement_is_refused_in_a_line(operator, y, message):
    with pytest.raises(ValueError, match=message):
        inverse.GaussianNoise(operator, y, 0.5)
