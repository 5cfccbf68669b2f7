"""Dropout is a function of (seed, sample, layer)."""

import pytest
import torch
from network_cases import NETS
from torch import nn

from scorefield import networks
from scorefield.networks import Dropout, set_dropout


def dropped(index, seed=3, p=0.4, event=(5, 6)):
    layer = Dropout(p)
    set_dropout(layer, seed, torch.as_tensor(index))
    return layer(torch.ones(len(index), *event))


def test_a_samples_mask_is_the_same_in_any_batch_and_order():
    index = torch.tensor([7, 2, 900, 11, 5, 0, 1, 2**40])
    batch = dropped(index)
    order = torch.randperm(8)
    assert torch.equal(dropped(index[order]), batch[order])
    for i in range(8):
        assert torch.equal(dropped(index[i : i + 1]), batch[i : i + 1])


def test_entries_are_zero_at_the_stated_rate_and_the_mean_is_kept():
    y = dropped(torch.arange(400), p=0.3, event=(100,))
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # 40,000 draws: 4 binomial standard errors
    assert abs(float((y == 0).double().mean()) - 0.3) < 4 * (0.3 * 0.7 / 40000) ** 0.5


def test_seeds_samples_and_layers_have_masks_of_their_own():
    """Two independent masks at p = 1/2 agree in half of 3,000 entries, within 4 standard errors."""
    net = nn.Sequential(Dropout(0.5), nn.ReLU(), Dropout(0.5))
    set_dropout(net, 1, torch.arange(30))
    x = torch.ones(30, 100)
    first, third = net[0](x), net[2](x)
    pairs = {
        "layers": (first, third),
        "seeds": (first, dropped(torch.arange(30), 2, 0.5, (100,))),
        "samples": (first, first.roll(1, 0)),
    }
    for name, (a, b) in pairs.items():
        assert abs(float((a == b).double().mean()) - 0.5) < 4 * 0.5 / 3000**0.5, name


@pytest.mark.parametrize("name", ["mlp, concat, learned", "unet, concat, fourier", "ncsn++", "adm", "dit, odd"])
def test_a_network_that_drops_gives_a_sample_the_same_output_in_any_batch(name):
    make, event = NETS[name]
    net = make().train().double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.2)
    assert any(isinstance(m, Dropout) and m.p for m in net.modules())
    assert not any(isinstance(m, nn.Dropout) for m in net.modules())
    x, level = torch.randn(4, *event, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    index = torch.tensor([40, 7, 8, 1])
    set_dropout(net, 12, index)
    whole = net(x, level)
    torch.testing.assert_close(net(x, level), whole, rtol=0, atol=0)  # the same step, replayed
    for i in range(4):
        set_dropout(net, 12, index[i : i + 1])
        torch.testing.assert_close(net(x[i : i + 1], level[i : i + 1]), whole[i : i + 1])
    set_dropout(net, 13, index)
    assert (net(x, level) - whole).abs().amax() > 1e-3


def test_without_a_seed_masks_come_from_the_global_generator():
    layer, x = Dropout(0.5), torch.ones(4, 50)
    torch.manual_seed(0)
    one = layer(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), one)
    assert not torch.equal(layer(x), one)


def test_nothing_is_dropped_outside_training_or_at_zero():
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_gradients_pass_where_entries_do():
    layer, x = Dropout(0.4), torch.ones(3, 20, requires_grad=True)
    set_dropout(layer, 0, torch.arange(3))
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_bad_arguments_get_one_line():
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\); got -0.1"):
        Dropout(-0.1)
    net = networks.MLP(2, dropout=0.1)
    set_dropout(net, 0, torch.arange(3))
    with pytest.raises(ValueError, match="set_dropout was given 3 samples; got a batch of 2"):
        net.train()(torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="seed must lie in"):
        set_dropout(net, -1, torch.arange(3))
    with pytest.raises(ValueError, match="index must be int64"):
        set_dropout(net, 0, torch.zeros(3))
