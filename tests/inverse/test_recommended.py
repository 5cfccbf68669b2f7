"""What `condition` takes when nothing is named."""

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield.inverse import (
    Bridge,
    FullCovariance,
    GaussianNoise,
    IsotropicCovariance,
    LaplaceBridge,
    SpectralBridge,
    recommended,
)
from scorefield.inverse.operators import Mask, PhaseRetrieval


def network() -> sf.NetworkDenoiser:
    return sf.NetworkDenoiser(Zero(), sf.EDM(), sf.EDMPreconditioning())


class Zero(nn.Module):
    def forward(self, x, level):
        return 0 * x


def likelihood(shape):
    known = torch.ones(shape, dtype=torch.bool)
    return GaussianNoise(Mask(known), torch.zeros(1, known.numel()), 0.1)


def examples(shape):
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "kind", "covariance", "particles"),
    [
        ((4,), Bridge, FullCovariance, 64),
        ((1, 8, 8), Bridge, IsotropicCovariance, 64),
        ((1, 28, 28), Bridge, IsotropicCovariance, 16),
        ((1, 40, 40), SpectralBridge, None, 1),
    ],
)
def test_a_network_with_examples(shape, kind, covariance, particles):
    method = recommended(likelihood(shape), network(), examples(shape))
    assert type(method) is kind
    assert method.particles == particles
    if isinstance(method, Bridge):
        assert covariance is not None
        assert isinstance(method.covariance, covariance)


def test_an_exact_denoiser_gives_all_of_the_covariance_for_nothing():
    law = sf.Gaussian(torch.zeros(64), torch.eye(64))
    method = recommended(likelihood((64,)), sf.ExactDenoiser(law, sf.VP()), examples((64,)))
    assert isinstance(method, Bridge)
    assert isinstance(method.covariance, FullCovariance)


def test_without_examples_small_events_take_all_of_the_covariance():
    method = recommended(likelihood((1, 8, 8)))
    assert isinstance(method, Bridge)
    assert isinstance(method.covariance, FullCovariance)


def test_what_is_not_linear_takes_the_twisted_sampler():
    operator = PhaseRetrieval((1, 8, 8))
    given = GaussianNoise(operator, torch.zeros(1, *operator.output_shape), 0.1)
    assert isinstance(recommended(given), LaplaceBridge)
