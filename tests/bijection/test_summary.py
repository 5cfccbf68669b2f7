"""How far walks, edits and inpaintings went: numbers known by hand."""

import math

import pytest
import torch

import scorefield as sf
from scorefield.bijection import summary


def test_a_round_trip():
    x = torch.zeros(2, 1, 2, 2)
    back = torch.stack([torch.full((1, 2, 2), 3.0), torch.full((1, 2, 2), 4.0)])
    trip = summary.round_trip(x, back)
    assert trip.error.tolist() == [3.0, 4.0]
    assert (trip.rms, trip.worst) == (pytest.approx(math.sqrt(12.5)), 4.0)
    assert summary.distance(x, back, 2.0) == 1.75
    assert summary.mean_square(back) == 12.5
    assert summary.kept(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])) == 0.75


def test_a_walk():
    a, b = torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])
    path = torch.tensor([[[0.1, 0.1]], [[2.0, 2.0]], [[3.0, 3.4]]])
    walk = summary.walk(path, a, b)
    assert walk.distance.tolist() == [3.0]
    assert walk.longest_step.tolist() == [pytest.approx(1.9)]
    assert walk.error_at_ends.tolist() == [pytest.approx(math.sqrt(0.08))]


@pytest.mark.parametrize("mean", [0.5, torch.full((2,), 0.5)], ids=["number", "tensor"])
def test_an_edit_is_set_beside_that_of_gaussian_data(mean):
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2, 4, 1), sf.VP(), sf.Eps(), data_mean=mean, data_std=2.0)
    x = torch.tensor([[1.5, -0.5], [0.5, 1.5]])
    half_way = 0.5 + 0.5 * (x - 0.5)  # towards the mean: all the same direction
    s = summary.edited(denoiser, x, half_way, 0.5)
    assert s.correlation == pytest.approx(1.0)
    assert s.correlation_of_gaussian_data == pytest.approx(math.cos(math.pi / 4))
    assert s.distance == pytest.approx((0.5 + math.sqrt(1 / 8)) / 2 / 2)
    assert summary.edited(denoiser, x, 1 - x, 0.5, stochastic=True)[2:] == (pytest.approx(-1), pytest.approx(0.5))
    assert summary.edited(denoiser, x, x, 1.0).correlation_of_gaussian_data == 0


def test_what_was_made_anew():
    x, hidden = torch.zeros(1, 4), torch.tensor([True, False, False, False])
    attempts = torch.zeros(2, 1, 4)
    attempts[0, 0, 0], attempts[1, 0, 0] = 1.0, 3.0
    s = summary.inpainted(x, attempts, hidden, 2.0)
    assert s == (0.25, pytest.approx(math.sqrt(5) / 2), pytest.approx(math.sqrt(2) / 2))
    assert math.isnan(summary.inpainted(x, attempts[:1], hidden, 2.0).spread)
