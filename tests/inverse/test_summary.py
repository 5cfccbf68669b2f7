"""A user's units, and what is said of a posterior's samples: numbers known by hand."""

import math
from dataclasses import replace

import pytest
import torch
from posterior_cases import f64, normal

from scorefield import data, inverse
from scorefield.inverse import GaussianNoise, PosteriorSamples, Units
from scorefield.inverse.operators import Dense


@pytest.mark.parametrize(
    "transform", [None, data.Scale(2 / 17, -1.0, 17, 0.0, 1.0), data.Standardize((1.0, -2.0), (0.5, 3.0))],
    ids=["none", "grey", "columns"],
)  # fmt: skip
def test_a_likelihood_says_the_same_in_the_users_and_in_the_models_units(transform):
    units = Units.of(transform)
    assert units.grey == isinstance(transform, data.Scale)
    raw = torch.tensor([[3.0, 16.0], [0.0, 7.0]], dtype=f64)
    # as the model sees them: in the middle of a grey value's bin
    x = raw if transform is None else transform(raw + 0.5 if units.grey else raw)
    torch.testing.assert_close(units.of_model(x[:, None])[:, 0], units.of_raw(raw))
    assert units.of_raw(torch.tensor([16])).item() == (1.0 if units.grey else 16.0)
    likelihood = GaussianNoise(Dense(normal(3, 2)), normal(2, 3, seed=1), 0.2)
    torch.testing.assert_close(units.in_model(likelihood).chi2(x), likelihood.chi2(units.of_raw(raw)))


def test_psnr():
    truth = torch.zeros(2, 1, 2, 2)
    x = torch.stack([torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 0.01)])
    torch.testing.assert_close(inverse.psnr(x, truth), torch.tensor([20.0, 40.0]))
    torch.testing.assert_close(inverse.psnr(255 * x, truth, peak=255.0), torch.tensor([20.0, 40.0]))


def samples(x, **known):
    return PosteriorSamples(x, nfe=1, total_nfe=1.0, vjps=0, dof=2, **known)


def test_quality_with_a_truth():
    x = torch.tensor([[0.2, 0.4, 0.6]], dtype=f64)[..., None].expand(1, 3, 2)
    made = samples(x, chi2=torch.tensor([[2.0, 4.0, 6.0]]), ess=torch.tensor([0.5]), log_evidence=torch.tensor([-3.0]))
    found = inverse.moments(replace(made, x=100 * x), x, 0.25)  # of x, whatever units it was made in
    assert found.mean.tolist() == [[pytest.approx(0.4)] * 2]
    assert found.std.tolist() == [[pytest.approx(0.2)] * 2]
    torch.testing.assert_close(torch.stack([found.low, found.high])[:, 0, 0], torch.tensor([0.3, 0.5], dtype=f64))
    likelihood = GaussianNoise(Dense(torch.eye(2, dtype=f64)), torch.zeros(1, 2, dtype=f64), 1.0)
    q = inverse.quality(made, x, likelihood, found, torch.tensor([[0.45, 0.7]], dtype=f64))
    assert q.psnr == pytest.approx(-10 * math.log10((0.05**2 + 0.3**2) / 2))
    assert q.psnr_of_a_sample == pytest.approx(-10 * math.log10((0.25**2 + 0.5**2) / 2))
    assert (q.inside, q.reduced_chi2, q.ess, q.mean_log_evidence) == (0.5, 2.0, 0.5, -3.0)
    # two degrees of freedom: P(chi2 >= 2 v^2) = exp(-v^2)
    assert q.mean_p_value == pytest.approx(sum(math.exp(-v * v) for v in (0.2, 0.4, 0.6)) / 3)


def test_quality_without_one():
    x = torch.zeros(1, 1, 2, dtype=f64)
    found = inverse.moments(samples(x), x, 0.9)
    assert found.std.tolist() == [[0.0, 0.0]]
    likelihood = GaussianNoise(Dense(torch.eye(2, dtype=f64)), torch.zeros(1, 2, dtype=f64), 1.0)
    q = inverse.quality(samples(x), x, likelihood, found)
    assert set(q) == {None}
    assert math.isnan(q.mean_p_value)
    assert math.isnan(q.mean_log_evidence)
