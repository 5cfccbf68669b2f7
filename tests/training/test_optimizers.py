"""Which weights are whose, what orthogonal steps do for a stretched valley, and the decays."""

import math

import pytest
import torch
from torch import nn

from scorefield import losses, networks, training
from scorefield.training import muon

f64 = torch.float64


def matrix(rows: int, columns: int, singular, seed=0):
    """U, S, V of a matrix with the given singular values."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=f64))[0][:, : len(singular)]
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=f64))[0][:, : len(singular)]
    return u, torch.tensor(singular, dtype=f64), v


def moved(optimizers):
    """By the number of each parameter, the class of what moves it."""
    return {id(p): type(o) for o in optimizers for group in o.param_groups for p in group["params"]}


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest():
    net = networks.UNet(1, width=8, num_classes=3, attention=True)
    by = moved(training.Muon().build(net, 1e-3))
    assert by.keys() == {id(p) for p in net.parameters()}
    for name, p in net.named_parameters():
        outer = bool({"entry", "exit", "condition"} & set(name.split(".")))
        assert (by[id(p)] is muon.MuonOptimizer) == (p.ndim >= 2 and not outer), name
    assert sum(cls is muon.MuonOptimizer for cls in by.values()) > 5


def test_a_losss_own_weights_are_adamws():
    both = nn.ModuleDict({"denoiser": networks.MLP(2, 16, 2), "loss": losses.Uncertainty()})
    by = moved(training.Muon().build(both, 1e-3))
    assert all(by[id(p)] is torch.optim.AdamW for p in both["loss"].parameters())


def test_each_optimiser_gets_its_learning_rate_and_what_is_frozen_none():
    net = networks.MLP(2, 16, 2)
    first = next(net.blocks.parameters()).requires_grad_(False)
    built = training.Muon(lr_ratio=7.0, adamw=training.AdamW(weight_decay=0.1)).build(net, 0.01)
    assert id(first) not in moved(built)
    assert [type(o) for o in built] == [torch.optim.AdamW, muon.MuonOptimizer]
    assert [o.param_groups[0]["lr"] for o in built] == pytest.approx([0.01, 0.07])
    assert built[0].param_groups[0]["weight_decay"] == 0.1
    (only,) = training.AdamW(betas=(0.8, 0.95)).build(net, 0.02)
    assert (only.param_groups[0]["lr"], only.param_groups[0]["betas"]) == (0.02, (0.8, 0.95))
    assert len(training.Muon(outer=()).build(nn.Linear(3, 3, bias=False), 0.1)) == 1  # no empty group
    assert len(training.Muon().build(nn.BatchNorm1d(3), 0.1)) == 1


def test_a_stretched_valley_is_descended_at_one_rate():
    """|A (W - W*)|^2 with A's squared singular values 1, 0.1 and 0.01: Muon's error falls in all directions alike."""
    u, s, v = matrix(8, 8, [1.0, 0.1**0.5, 0.1])
    a, weight = torch.diag(s) @ u.T, nn.Parameter(torch.zeros(8, 8, dtype=f64))
    goal = u @ v.T
    optimizer = muon.MuonOptimizer([weight], lr=0.05 / (0.2 * math.sqrt(8)), momentum=0.0, dtype=f64)
    for _ in range(16):
        weight.grad = a.T @ a @ (weight.detach() - goal)
        optimizer.step()
    left = (u.T @ (weight.detach() - goal) @ v).diagonal()
    assert float(left.abs().max()) < 0.5  # 16 steps of at least 0.6 * 0.05, from 1
    assert float(left.abs().min()) > 0.5 * float(left.abs().max())


@pytest.mark.parametrize("decay", [training.cosine, training.constant, training.inverse_sqrt])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_a_decay_rises_in_a_line_to_one_and_never_rises_again(decay, warmup):
    factors = [decay(step, 100, warmup) for step in range(100)]
    assert factors[:warmup] == pytest.approx([(k + 1) / warmup for k in range(warmup)])
    assert max(factors) == pytest.approx(1.0)
    after = factors[max(warmup - 1, 0) :]
    assert after == sorted(after, reverse=True)


def test_inverse_sqrt_halves_when_time_quadruples():
    assert training.inverse_sqrt(399, 10, 100) == pytest.approx(0.5)
    assert training.inverse_sqrt(1599, 10, 100) == pytest.approx(0.25)
