"""Every way to draw from a posterior on every process, against the posterior in closed form: values, not shapes.

Grids are laid in the noise ratio, so a method gives nearly the same numbers wherever it is read: also where alpha(1) =
0 and the start has no noise ratio, where the process ends at noise no larger than the data, and for data of another
mean and scale. What a method is off by on its own account, its bias, is the same on all of them.
"""

import math
from typing import Any

import pytest
import torch
from posterior_cases import condition, f64

import scorefield as sf
from scorefield import inverse
from scorefield.inverse.operators import Dense, Mask

ROOT = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=f64), 0).sqrt()
RESCALED = (ROOT - ROOT[-1]) * ROOT[0] / (ROOT[0] - ROOT[-1])  # Lin et al. 2024: zero terminal SNR
SCHEDULES = {
    "VP": sf.VP(),
    "sub-VP": sf.SubVP(),
    "VE": sf.VE(),
    "VE, blurred at 0": sf.VE(from_zero=False),
    "VE, power": sf.schedules.VEPower(),
    "EDM": sf.EDM(),
    "cosine": sf.Cosine(),
    "cosine to zero": sf.Cosine(alpha_min=0.0),
    "rectified": sf.Rectified(),
    "Brownian": sf.Brownian(20.0),
    "Brownian to noise as large as the data": sf.Brownian(),
    "chain": sf.Discrete.linear(),
    "chain to zero": sf.Discrete(alphas_cumprod=RESCALED**2),
}
# What a method is off by for Gaussian data, on any process: the mean and the standard deviation of the number measured,
# and the standard deviation of the other. Those that take all of x0's law into account are off by nothing. DDNM puts y
# itself in place (1 for 0.8, and no spread for 0.447), RED-diff is a point for each sample; the rest is measured on VP.
METHODS: dict[str, tuple[Any, tuple[float, float, float]]] = {
    "bridge": (inverse.Bridge(), (0, 0, 0)),
    "isotropic bridge": (inverse.Bridge(covariance=inverse.IsotropicCovariance()), (0, 0, 0)),
    "twisted": (inverse.TwistedSMC(), (0, 0, 0)),
    "moment matching": (inverse.Guidance(inverse.MomentMatching), (0, 0, 0)),
    "PiGDM": (inverse.Guidance(inverse.PiGDM), (0, 0, 0)),
    "DiffPIR": (inverse.Guidance(inverse.DiffPIR), (0.07, -0.05, 0)),
    "DDNM": (inverse.Guidance(inverse.DDNM), (0.2, -(0.2**0.5), 0)),
    "DPS": (inverse.DPS(), (0.199, -0.342, -0.059)),  # on every process and in all units the same
    "DDRM": (inverse.DDRM(), (0.05, -0.24, -0.14)),
    "DAPS": (inverse.DAPS(), (0.08, 0.01, 0.41)),
    "RED-diff": (inverse.REDDiff(), (0.23, -0.34, -0.64)),
}
N = 2000


def close(x: torch.Tensor, mean: list[float], std: list[float], steps: float = 0.03) -> None:
    """Columns of `(N, k)`, to 4.5 standard errors of their own spread, 0.447 or 1, and what 40 steps are off by."""
    for i, (m, s) in enumerate(zip(mean, std, strict=True)):
        spread = 0.2**0.5 if i == 0 else 1.0
        assert abs(float(x[:, i].mean()) - m) < 4.5 * spread / math.sqrt(N) + steps
        assert abs(float(x[:, i].std()) - s) < 4.5 * spread / math.sqrt(2 * N) + steps


@pytest.mark.parametrize(("centre", "scale"), [(0.0, 1.0), (3.0, 2.0)], ids=["unit data", "other units"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("method", "bias"), METHODS.values(), ids=METHODS)
def test_the_posterior_is_that_of_the_law(method, bias, schedule, centre, scale):
    """N(0.8, 0.2) and N(0, 1), in units of `scale` about `centre`."""
    if isinstance(schedule, sf.Brownian):
        schedule = sf.Brownian(scale * schedule.scale)
    law = sf.Gaussian(torch.full((2,), centre, dtype=f64), scale**2 * torch.eye(2, dtype=f64))
    y = torch.tensor([[centre + scale]], dtype=f64)
    given = inverse.GaussianNoise(Dense(torch.tensor([[1.0, 0.0]], dtype=f64)), y, 0.5 * scale)
    x = condition(sf.ExactDenoiser(law, schedule), given, method).sample(N, nfe=40).x[0]
    close((x - centre) / scale, [0.8 + bias[0], 0.0], [0.2**0.5 + bias[1], 1 + bias[2]])


class White(sf.Denoiser):
    """The exact denoiser of independent pixels N(centre, scale^2), in pictures of any size."""

    def __init__(self, schedule: Any, centre: float, scale: float) -> None:
        super().__init__()
        self.schedule, self.data_mean, self.data_std = schedule, centre, scale

    def forward(self, x_t, t):
        alpha, sigma = (float(v) for v in self.schedule(t))
        share = alpha * self.data_std**2 / (alpha**2 * self.data_std**2 + sigma**2)
        return self.data_mean + share * (x_t - alpha * self.data_mean)


@pytest.mark.parametrize(("centre", "scale"), [(0.0, 1.0), (3.0, 2.0)], ids=["unit data", "other units"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_so_it_is_of_pictures(schedule, centre, scale):
    """By SpectralBridge with the spectrum measured on 64 pictures of 4 x 4, one pixel of which is observed."""
    denoiser = White(schedule, centre, scale)
    generator = torch.Generator().manual_seed(0)
    pictures = centre + scale * torch.randn(64, 1, 4, 4, dtype=f64, generator=generator)
    method = inverse.SpectralBridge(inverse.calibrate_spectrum(denoiser, pictures, generator=generator))
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1] = True
    given = inverse.GaussianNoise(Mask(mask), torch.tensor([[centre + scale]], dtype=f64), 0.5 * scale)
    x = condition(denoiser, given, method).sample(N, nfe=10).x[0, :, 0]
    close((x[:, 1, [1, 3]] - centre) / scale, [0.8, 0.0], [0.2**0.5, 1.0])


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
