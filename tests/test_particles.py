"""Systematic resampling and the effective sample size."""

import pytest
import torch

from scorefield import particles

f64 = torch.float64


def weights(g=5, k=7):
    return 3 * torch.randn(g, k, dtype=f64, generator=torch.Generator().manual_seed(0))


def test_copies_are_k_times_the_weight_on_average_and_never_one_off():
    log_w = weights()
    w = torch.softmax(log_w, 1)
    n = 2000  # an even grid of u: the mean over it is within 1 / n of the integral, for each of K copies
    total = torch.zeros_like(w)
    for u in (torch.arange(n, dtype=f64) + 0.5) / n:
        index = particles.systematic(log_w, u.expand(5))
        copies = torch.stack([torch.bincount(row, minlength=7) for row in index])
        assert bool(((copies - 7 * w).abs() < 1).all())
        total += copies / n
    torch.testing.assert_close(total, 7 * w, rtol=0, atol=7 / n)


def test_equal_weights_keep_every_particle():
    index = particles.systematic(torch.full((3, 6), -700.0), torch.tensor([0.001, 0.5, 0.999]))
    assert index.tolist() == [list(range(6))] * 3


def test_a_particle_without_weight_is_never_kept():
    log_w = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    for u in (0.0, 0.3, 1 - 2.0**-32):
        assert set(particles.systematic(log_w, torch.tensor([u], dtype=f64)).flatten().tolist()) <= {1, 3}


def test_effective_size_of_known_weights():
    log_w = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf], [3.0, 3.0, -torch.inf, 3.0]])
    torch.testing.assert_close(particles.effective_size(log_w), torch.tensor([4.0, 1.0, 3.0], dtype=f64))
    w = torch.tensor([1.0, 2.0, 3.0], dtype=f64)
    assert float(particles.effective_size(w.log()[None] + 900)) == pytest.approx(36 / 14)


def test_no_group_depends_on_another_to_the_bit():
    log_w, u = weights(9), torch.linspace(0, 0.9, 9, dtype=f64)
    index, size = particles.systematic(log_w, u), particles.effective_size(log_w)
    for i in range(9):
        assert torch.equal(particles.systematic(log_w[i : i + 1], u[i : i + 1])[0], index[i])
        assert torch.equal(particles.effective_size(log_w[i : i + 1])[0], size[i])
    assert particles.systematic(log_w[:0], u[:0]).shape == (0, 7)


@pytest.mark.parametrize(
    ("log_w", "message"),
    [
        (torch.zeros(3), r"log_weights must have shape \(G, K\).*got \(3,\)"),
        (torch.full((2, 3), -torch.inf), "got -inf in row 0"),
        (torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), "got nan in row 1"),
    ],
)
def test_weights_that_are_none_are_refused(log_w, message):
    with pytest.raises(ValueError, match=message):
        particles.effective_size(log_w)
