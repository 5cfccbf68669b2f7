"""What every network owes a denoiser: shapes, independence of samples, labels, a zero start; and that it can learn."""

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import networks
from scorefield.networks.blocks import Attention, ResidualBlock, fold, unfold


def scrambled(net: nn.Module) -> nn.Module:
    """Every parameter random: nothing hides behind a layer that starts at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return net.eval()


NETS = {
    "mlp": (lambda classes: networks.MLP(6, hidden=16, depth=2, num_classes=classes), (6,)),
    "mlp of an image": (lambda classes: networks.MLP(12, hidden=16, depth=2, num_classes=classes), (3, 2, 2)),
    "unet": (lambda classes: networks.UNet(1, width=8, num_classes=classes), (1, 8, 8)),
    "unet, odd": (lambda classes: networks.UNet(3, width=8, multipliers=(1, 2, 2), num_classes=classes), (3, 7, 13)),
    "unet, one pixel": (lambda classes: networks.UNet(2, width=4, multipliers=(1, 1), num_classes=classes), (2, 1, 1)),
    "unet, patches": (lambda classes: networks.UNet(1, width=8, blocks=2, patch=2, num_classes=classes), (1, 9, 6)),
}
nets = pytest.mark.parametrize(("make", "event"), NETS.values(), ids=NETS.keys())


@nets
@pytest.mark.parametrize("classes", [None, 3])
def test_networks_keep_the_denoiser_contract(make, event, classes):
    denoiser = sf.NetworkDenoiser(scrambled(make(classes)), sf.VP(), sf.V())
    cond = {} if classes is None else {"label": torch.tensor([0, 2, 3, 1])}
    sf.checks.check_denoiser(denoiser, event, cond=cond)


@nets
def test_the_output_starts_at_zero(make, event):
    assert not make(None)(torch.randn(2, *event), torch.rand(2)).any()


@nets
def test_level_and_label_are_heard_and_no_label_is_the_null_class(make, event):
    net = scrambled(make(3))
    x, level = torch.randn(4, *event, generator=torch.Generator().manual_seed(1)), torch.full((4,), 0.3)
    label = torch.tensor([0, 1, 2, 3])
    out = net(x, level, label)
    assert (out - net(x, level + 0.1, label)).abs().amax() > 1e-3
    assert (out[:3] - net(x, level, label.roll(1))[:3]).abs().amax() > 1e-3
    torch.testing.assert_close(net(x, level), net(x, level, torch.full((4,), 3)))


@nets
def test_every_parameter_is_trained(make, event):
    net = scrambled(make(3)).train()
    net(torch.randn(4, *event), torch.rand(4), torch.tensor([0, 1, 2, 3])).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_blocks_start_as_the_identity():
    x, condition = torch.randn(2, 8, 5, 5), torch.randn(2, 16)
    assert torch.equal(ResidualBlock(8, 8, 16)(x, condition), x)
    assert torch.equal(Attention(8)(x), x)


def test_folding_is_torchs_and_undone():
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(fold(x, 2), torch.nn.functional.pixel_unshuffle(x, 2))
    assert torch.equal(unfold(fold(x, 2), 2), x)


def test_attention_is_softmax_over_positions():
    """With q = 0 every position receives the mean of the values."""
    block, x = Attention(4), torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in block.qkv.parameters():
            p.zero_()
        block.qkv.weight[8:, :, 0, 0] = torch.eye(4)
        block.get_parameter("out.weight")[:, :, 0, 0] = torch.eye(4)
        values = block.norm(x)
        torch.testing.assert_close(block(x) - x, values.mean((2, 3), keepdim=True).expand_as(x))


def test_sinusoidal_features_tell_levels_apart():
    """cos^2 + sin^2 = 1, so the inner product of two features is the sum of cos(w (a - b))."""
    embed = networks.Sinusoidal(32)
    a, b = torch.tensor([0.2, -1.5]), torch.tensor([0.2, 0.9])
    expected = torch.cos(embed.frequencies * (a - b)[:, None]).sum(1)
    torch.testing.assert_close((embed(a) * embed(b)).sum(1), expected, rtol=1e-5, atol=1e-5)


def test_bad_input_gets_one_line():
    net = networks.UNet(1, width=8)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, H, W\); got \(2, 3, 8, 8\)"):
        net(torch.zeros(2, 3, 8, 8), torch.zeros(2))
    with pytest.raises(ValueError, match="without num_classes"):
        net(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"label must have shape \(2,\)"):
        networks.UNet(1, width=8, num_classes=3)(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.tensor([1]))
    with pytest.raises(ValueError, match="6 entries"):
        networks.MLP(6)(torch.zeros(2, 5), torch.zeros(2))
    with pytest.raises(ValueError, match="must be at least 1"):
        networks.UNet(1, width=0)
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        networks.MLP(2, hidden=0)
