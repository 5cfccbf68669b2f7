"""Encoders: logits of any size of input, from a start where all classes are equal; their loss falls."""

import pytest
import torch
from network_cases import scrambled

from scorefield import networks
from scorefield.storage.models import build, describe

NETS = {
    "unet": (lambda: networks.UNetEncoder(1, 3, width=8), (1, 8, 8)),
    "unet, patches, odd": (
        lambda: networks.UNetEncoder(2, 3, 8, (1, 2, 2), 2, patch=2, attention_levels=[1]),
        (2, 9, 6),
    ),
    "unet, series, concat": (lambda: networks.UNetEncoder(2, 3, 8, dims=1, conditioning="concat"), (2, 11)),
    "mlp": (lambda: networks.MLPEncoder(6, 3, hidden=16, depth=2, dropout=0.1), (2, 3)),
}
nets = pytest.mark.parametrize(("make", "event"), NETS.values(), ids=NETS.keys())


@nets
def test_logits_of_each_sample_alone(make, event):
    net = scrambled(make()).double()
    x, level = torch.randn(4, *event, dtype=torch.float64), torch.linspace(-0.5, 0.5, 4, dtype=torch.float64)
    out = net(x, level)
    assert out.shape == (4, 3)
    for i in range(4):
        torch.testing.assert_close(net(x[i : i + 1], level[i : i + 1]), out[i : i + 1])
    assert (net(x, level + 0.2) - out).abs().amax() > 1e-6
    assert net(x[:0], level[:0]).shape == (0, 3)


@nets
def test_it_starts_undecided_and_every_parameter_learns(make, event):
    net = make()
    x, level = torch.randn(4, *event), torch.zeros(4)
    assert not net(x, level).any()
    net = scrambled(net).train()
    networks.set_dropout(net, 0, torch.arange(4))
    torch.nn.functional.cross_entropy(net(x, level), torch.tensor([0, 1, 2, 0])).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


@nets
def test_it_is_described_by_plain_values(make, event):
    net = make()
    again = build(describe(net))
    assert describe(again) == describe(net)
    again.load_state_dict(net.state_dict())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, H, W\); got \(2, 3, 8, 8\)"):
        networks.UNetEncoder(1, 3, width=8)(torch.zeros(2, 3, 8, 8), torch.zeros(2))
    with pytest.raises(ValueError, match="UNetEncoder: num_classes must be at least 1; got 0"):
        networks.UNetEncoder(1, 0)
    with pytest.raises(ValueError, match="x must have 6 entries"):
        networks.MLPEncoder(6, 3)(torch.zeros(2, 5), torch.zeros(2))
