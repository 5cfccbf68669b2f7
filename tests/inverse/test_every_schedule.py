"""Every way to draw from a posterior on every process, against the posterior in closed form: values, not shapes.

Grids are laid in the noise ratio, so a method gives nearly the same numbers wherever it is read; where alpha(1) = 0 the
start has no noise ratio, and there it used to be NaN. The biases admitted are the methods' own, as
they are on VP.
"""

import pytest
import torch
from posterior_cases import condition, f64

import scorefield as sf
from scorefield import inverse
from scorefield.inverse.operators import Dense

ROOT = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=f64), 0).sqrt()
RESCALED = (ROOT - ROOT[-1]) * ROOT[0] / (ROOT[0] - ROOT[-1])  # Lin et al. 2024: zero terminal SNR
SCHEDULES = {
    "VP": sf.VP(),
    "sub-VP": sf.SubVP(),
    "VE": sf.VE(),
    "EDM": sf.EDM(),
    "cosine": sf.Cosine(),
    "cosine to zero": sf.Cosine(alpha_min=0.0),
    "rectified": sf.Rectified(),
    "Brownian": sf.Brownian(20.0),
    "chain": sf.Discrete.linear(),
    "chain to zero": sf.Discrete(alphas_cumprod=RESCALED**2),
}
# how far mean and standard deviation may be from (0.8, 0) and (0.447, 1): a statistical 5 standard errors of 2,000 for
# those that are exact for Gaussian data, and what steps and approximations leave
METHODS = {
    "bridge": (inverse.Bridge(), 0.06, 0.06),
    "isotropic bridge": (inverse.Bridge(covariance=inverse.IsotropicCovariance()), 0.06, 0.06),
    "twisted": (inverse.TwistedSMC(), 0.06, 0.06),
    "moment matching": (inverse.Guidance(inverse.MomentMatching), 0.06, 0.06),
    "PiGDM": (inverse.Guidance(inverse.PiGDM), 0.06, 0.06),
    "DiffPIR": (inverse.Guidance(inverse.DiffPIR), 0.15, 0.35),
    "DDNM": (inverse.Guidance(inverse.DDNM), 0.25, 0.6),
    "DPS": (inverse.DPS(), 0.25, 0.35),
    "DDRM": (inverse.DDRM(), 0.1, 0.25),
    "DAPS": (inverse.DAPS(), 0.15, 0.5),
    "RED-diff": (inverse.REDDiff(), 0.25, 1.2),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("method", "mean", "std"), METHODS.values(), ids=METHODS)
def test_the_posterior_is_that_of_the_law(method, mean, std, schedule):
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64)), schedule)
    y = torch.tensor([[1.0]], dtype=f64)
    given = inverse.GaussianNoise(Dense(torch.tensor([[1.0, 0.0]], dtype=f64)), y, 0.5)
    x = condition(denoiser, given, method).sample(2000, nfe=40).x[0]
    assert float((x.mean(0) - torch.tensor([0.8, 0.0])).abs().max()) < mean
    assert float((x.std(0) - torch.tensor([0.2**0.5, 1.0])).abs().max()) < std


@pytest.mark.parametrize("guided", [inverse.MomentMatching, inverse.PiGDM, inverse.DiffPIR, inverse.DDNM])
def test_guided_denoisers_are_finite_where_alpha_is_zero(guided):
    """And what they say of the datum there is the posterior mean: E[x0 | y], since x_t says nothing."""
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64)), sf.Rectified())
    y = torch.tensor([[1.0]], dtype=f64)
    given = inverse.GaussianNoise(Dense(torch.tensor([[1.0, 0.0]], dtype=f64)), y, 0.5)
    d = guided(denoiser, given)(torch.randn(3, 2, dtype=f64), 1.0)
    blurred = guided in (inverse.MomentMatching, inverse.PiGDM)  # the others give the datum nearest to y
    torch.testing.assert_close(d[:, 0], torch.full((3,), 0.8 if blurred else 1.0, dtype=f64), rtol=0, atol=1e-3)


def test_a_derivative_that_says_nothing_is_refused():
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.Rectified())
    with pytest.raises(ValueError, match=r"can't be had from D where alpha = 0, at t = 1"):
        sf.covariance(denoiser, torch.zeros(1, 2), 1.0, torch.ones(1, 2))


@pytest.mark.parametrize("method", METHODS, ids=METHODS)
def test_they_work_in_inference_mode(method):
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2, hidden=8, depth=1), sf.VP(), sf.V(), data_std=1.0)

    def draw():
        given = inverse.GaussianNoise(Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[1.0]]), 0.5)
        return condition(denoiser, given, METHODS[method][0]).sample(4, nfe=8).x

    expected = draw()
    with torch.inference_mode():
        assert torch.equal(draw(), expected)
