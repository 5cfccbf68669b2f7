"""Blocks and attention against their formulas; what the U-Net's and the DiT's options change."""

import math

import pytest
import torch
from network_cases import scrambled
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from scorefield import networks
from scorefield.networks.attention import Attention, CrossAttention, TokenAttention, attend
from scorefield.networks.blocks import ResidualBlock, Style
from scorefield.networks.conditioning import Context
from scorefield.networks.dit import DiTBlock
from scorefield.networks.resampling import Down, Up, pad_to

f64 = torch.float64


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_softmax_of_scaled_products_head_by_head(masked):
    q, k, v = torch.randn(2, 5, 6, dtype=f64), torch.randn(2, 4, 6, dtype=f64), torch.randn(2, 4, 6, dtype=f64)
    mask = torch.tensor([[True, False, True, True], [False, False, True, False]]) if masked else None
    heads = []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        scores = torch.einsum("bnc,blc->bnl", q[..., part], k[..., part]) / math.sqrt(3)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        weights = scores.exp() / scores.exp().sum(2, keepdim=True)
        heads.append(torch.einsum("bnl,blc->bnc", weights, v[..., part]))
    torch.testing.assert_close(attend(q, k, v, 2, mask), torch.cat(heads, 2))


def test_attention_over_a_map_is_attention_over_its_positions():
    block, x = scrambled(Attention(8, head_channels=4)), torch.randn(2, 8, 3, 5)
    assert isinstance(block, Attention)
    q, k, v = block.qkv(block.norm(x)).flatten(2).transpose(1, 2).split(8, 2)
    h = block.out(attend(q, k, v, 2).transpose(1, 2).unflatten(2, (3, 5)))
    torch.testing.assert_close(block(x), x + h)


def test_attention_over_a_map_can_be_fused():
    """The fused kernel refuses channels that do not lie together; torch would then take the slow one in silence."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        Attention(8, head_channels=4)(torch.randn(2, 8, 3, 5))


def test_blocks_start_as_the_identity_times_the_scale_of_skips():
    x, condition, tokens = torch.randn(2, 8, 5, 5), torch.randn(2, 16), torch.randn(2, 3, 6)
    for scale in (1.0, 2**-0.5):
        style = Style(condition=16, skip_scale=scale)
        assert torch.equal(ResidualBlock(8, 8, style)(x, condition), x * scale)
        assert torch.equal(Attention(8, skip_scale=scale)(x), x * scale)
        assert torch.equal(TokenAttention(8, 6, skip_scale=scale)(x, tokens), x * scale)
    h = torch.randn(2, 7, 8)
    assert torch.equal(DiTBlock(8, 2, token_dim=6)(h, Context(torch.randn(2, 8), tokens)), h)
    assert not CrossAttention(8, 6, 2)(h, tokens).any()


@pytest.mark.parametrize("kind", ["nearest", "fir"])
def test_blocks_that_resample_start_as_the_filter(kind):
    x, condition, style = torch.randn(2, 8, 5, 6), torch.randn(2, 16), Style(condition=16)
    down, up = Down(2, kind), Up(2, kind)
    half = ResidualBlock(8, 8, style, resample=down)(x, condition)
    assert torch.equal(half, down(x))
    assert torch.equal(ResidualBlock(8, 8, style, resample=up)(half, condition, (5, 6)), up(half, (5, 6)))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_progressive_input_is_seen_below_the_first_level(progressive):
    """With the first layer at zero the image reaches the network by no other way."""
    net = scrambled(networks.UNet(1, 8, resample="fir", progressive_input=progressive))
    assert isinstance(net, networks.UNet)
    with torch.no_grad():
        for p in net.entry.parameters():
            p.zero_()
        level = torch.rand(2)
        gap = (net(torch.randn(2, 1, 6, 6), level) - net(torch.randn(2, 1, 6, 6), level)).abs().amax()
    assert bool(gap > 1e-4) == progressive


def test_presets_are_unets_with_other_defaults():
    net = networks.UNet.ncsnpp(3, 16, blocks=1, dropout=0.0, num_classes=4)
    assert (net.resample, net.resample_in_block, net.progressive_input) == ("fir", True, True)
    assert (net.skip_scale, net.conditioning, net.level_embedding) == (2**-0.5, "add", "fourier")
    assert (net.width, net.blocks, net.dropout, net.num_classes) == (16, 1, 0.0, 4)
    assert networks.UNet.ddpmpp(3, 16, blocks=1).resample == "nearest"
    adm = networks.UNet.adm(3, 16, blocks=1)
    assert sum(isinstance(m, Attention) for m in adm.modules()) == 3 + 6 + 1  # down, up and middle


@pytest.mark.parametrize(("channels", "heads"), [(32, 1), (64, 1), (128, 2), (256, 4)])
def test_heads_have_the_stated_channels(channels, heads):
    assert Attention(channels, head_channels=64).heads == heads


def test_dit_fills_up_with_zeros_and_crops():
    net = scrambled(networks.DiT(2, patch=3, width=8, depth=2, heads=2))
    x, level = torch.randn(2, 2, 5, 7), torch.rand(2)
    torch.testing.assert_close(net(x, level), net(pad_to(x, 3), level)[:, :, :5, :7])


def test_dit_tells_patches_apart_by_their_place_only():
    """On a constant image every patch holds the same; without positions, so would every patch of the output."""
    net = scrambled(networks.DiT(1, patch=2, width=16, depth=2, heads=2))
    out = net(torch.ones(1, 1, 8, 12), torch.rand(1))
    patches = nn.functional.unfold(out, 2, stride=2)[0].T
    distances = torch.cdist(patches, patches).fill_diagonal_(torch.inf)
    assert float(distances.detach().amin()) > 1e-3
