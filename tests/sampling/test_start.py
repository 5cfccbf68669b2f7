"""Where sampling starts: statistics of the data that nobody gave, and tensors that are no draws of x_t."""

import warnings
from typing import Any

import pytest
import torch

import scorefield as sf

f64 = torch.float64
SHORT = sf.Discrete.linear(200)  # ends at alpha_bar = 0.13


class Shrink(torch.nn.Module):
    def forward(self, x, level, label=None, null=None):
        return 0.1 * x


def network(schedule: Any = SHORT, **statistics: Any):
    return sf.NetworkDenoiser(Shrink(), schedule, sf.V(), **statistics)


def said(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    "use",
    [
        lambda d: sf.sample(d, (3, 2), nfe=2),
        lambda d: sf.sample(sf.ClassifierFreeGuidance(d, 2.0), (3, 2), nfe=2, cond={"label": 1}),
        lambda d: sf.inpaint(d, torch.zeros(3, 2), torch.tensor([True, False]), nfe=10),
        lambda d: sf.encode(d, torch.zeros(3, 2), nfe=2),
    ],
    ids=["sample", "guided", "inpaint", "encode"],
)
def test_statistics_that_count_and_were_not_given_are_asked_for(use):
    assert abs(float(SHORT(1.0)[0]) ** 2 - 0.13) < 0.01
    (line,) = set(said(lambda: use(network())))
    assert line.startswith("at t = 1 sigma / alpha is 2.56: where sampling starts depends on the data's mean and")
    assert not said(lambda: use(network(data_mean=0.0, data_std=1.0)))


@pytest.mark.parametrize("schedule", [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(), sf.Rectified()], ids=repr)
def test_nothing_is_said_where_the_start_is_noise(schedule):
    assert not said(lambda: sf.sample(network(schedule), (3, 2), nfe=2))


def test_fit_measures_what_was_not_given():
    """Without it a chain that ends at alpha_bar = 0.13 starts data of standard deviation 13 six times too narrow."""
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor([5.0, -2.0]) + 13 * torch.randn(5000, 2, generator=generator)
    options: Any = {"steps": 1, "batch_size": 8}
    net = sf.networks.MLP(2, hidden=8, depth=1)
    fitted = sf.training.fit(sf.NetworkDenoiser(net, SHORT, sf.V()), x, **options).denoiser
    assert abs(fitted.data_std / 13 - 1) < 5 / (2 * 2 * 4096) ** 0.5
    torch.testing.assert_close(fitted.data_mean, torch.tensor([5.0, -2.0]), rtol=0, atol=5 * 13 / 4096**0.5)
    assert not said(lambda: sf.sample(fitted, (3, 2), nfe=2))

    given = sf.NetworkDenoiser(net, SHORT, sf.V(), data_mean=1.0, data_std=2.0)
    kept = sf.training.fit(given, x, **options).denoiser
    assert (kept.data_mean, kept.data_std) == (1.0, 2.0)

    scaled = sf.training.fit(sf.NetworkDenoiser(net, SHORT, sf.V()), x, transform=sf.data.Scale(0.1), **options)
    assert abs(scaled.denoiser.data_std / 1.3 - 1) < 0.06

    pictures = sf.NetworkDenoiser(sf.networks.UNet(1, 8, multipliers=(1,)), SHORT, sf.V())
    fit = sf.training.fit(pictures, 3 + 2 * torch.randn(40, 1, 8, 8, generator=generator), **options).denoiser
    assert isinstance(fit.data_mean, float)  # of any size
    assert abs(fit.data_mean - 3) < 0.2
    assert abs(fit.data_std - 2) < 0.15


def test_data_that_do_not_vary_have_no_scale():
    bare = sf.NetworkDenoiser(sf.networks.MLP(2, hidden=8, depth=1), SHORT, sf.V())
    fitted = sf.training.fit(bare, torch.zeros(8, 2), steps=1).denoiser
    assert (fitted.data_mean, fitted.data_std) == (0.0, 1.0)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("event", [(2,), (1, 8, 8)], ids=str)
def test_a_start_of_another_scale_is_taken_and_said(schedule, event):
    denoiser = network(schedule, data_mean=0.0, data_std=1.0)
    mean, std = denoiser.prior(1.0)
    z = torch.randn(40, *event, generator=torch.Generator().manual_seed(0))
    assert not said(lambda: sf.sample(denoiser, mean + std * z, nfe=2))
    for factor in (1 / 6, 6.0, 1e4):
        (line,) = said(lambda factor=factor: sf.sample(denoiser, mean + factor * std * z, nfe=2))
        assert "times as large as x_t is at t = 1, where its standard deviation is" in line


def test_a_start_half_way_and_a_single_number_are_nobodys_business():
    denoiser = network(sf.EDM(), data_mean=0.0, data_std=1.0)
    half = float(sf.EDM().time_of_log_snr(1.0))
    assert not said(lambda: sf.sample(denoiser, 5 * torch.ones(20, 2), times=torch.tensor([half, 0.0], dtype=f64)))
    assert not said(lambda: sf.sample(denoiser, torch.full((1, 1), 3 * 80.0), nfe=2))
