"""The two-moons simulator's exact posterior, by the checks that need none; and that a network learns it."""

import pytest
import simulator_posterior as two_moons
import torch

from scorefield import metrics


def test_the_exact_posterior_is_calibrated():
    generator = torch.Generator().manual_seed(0)
    truth = 2 * torch.rand(300, 2, generator=generator) - 1
    y = two_moons.simulate(truth, generator)
    samples = torch.stack([two_moons.exact_posterior(one, 39, generator) for one in y])
    assert metrics.sbc(truth, samples).p_value > 0.01
    assert metrics.tarp(truth, samples, y).p_value > 0.01
    coverage = metrics.coverage(truth, samples)
    assert bool(((coverage.rates - coverage.levels).abs() < 3.5 * coverage.stderr).all())


def test_the_exact_posterior_of_the_middle_has_two_moons_alike():
    theta = two_moons.exact_posterior(torch.zeros(2), 4000, torch.Generator().manual_seed(0))
    total = theta.sum(1)
    assert float((total > 0).double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    crescent = torch.stack([total.abs() / 2**0.5 - 0.25, -(theta[:, 1] - theta[:, 0]) / 2**0.5], 1)
    assert float(crescent.norm(dim=1).mean()) == pytest.approx(0.1, abs=4 * 0.01 / 4000**0.5)


@pytest.mark.slow
def test_a_network_learns_it_from_simulations():
    """Measured 0.5 times the floor in the median of ten y, 1.3 at most."""
    report = two_moons.examine(two_moons.learn(100_000, 1500))
    ratios = sorted(d / f for d, f in zip(report.distances, report.floors, strict=True))
    assert ratios[5] < 2
    assert report.ranks.p_value > 0.01
    assert report.tarp.p_value > 0.01
