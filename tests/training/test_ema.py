import copy

import pytest
import torch
from torch import nn

from scorefield.training import EMA

f64 = torch.float64


def module():
    net = nn.Sequential(nn.Linear(3, 2, dtype=f64), nn.BatchNorm1d(2, dtype=f64))  # the latter for its buffers
    return net.requires_grad_()


def trajectory(net, steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, dtype=f64, generator=generator))
        yield [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_the_geometric_sum(decay):
    """d^n w_0 + (1 - d) sum_k d^(n - k) w_k."""
    net = module()
    ema = EMA(net, decay, ramp=False)
    expected = [decay**20 * p.detach() for p in ema.module.parameters()]
    for k, weights in enumerate(trajectory(net, 20), start=1):
        ema.update()
        expected = [e + (1 - decay) * decay ** (20 - k) * w for e, w in zip(expected, weights, strict=True)]
    for kept, e in zip(ema.module.parameters(), expected, strict=True):
        torch.testing.assert_close(kept.detach(), e)


def test_the_ramp_forgets_the_start():
    """The initial weights keep prod (k + 1) / (k + 10), k = 1..n: 10! / ((n + 2) ... (n + 10))."""
    net = module()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    ema = EMA(net, 0.9999)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    for _ in range(30):
        ema.update()
    left = 1.0
    for j in range(2, 11):
        left *= j / (30 + j)
    for p in ema.module.parameters():
        torch.testing.assert_close(p.detach(), torch.full_like(p, left))
    assert left < 1e-7


def test_the_ramp_ends_at_the_decay():
    net = module()
    ema = EMA(net, 0.5)
    before, weights = [], []
    for weights in trajectory(net, 12):  # (k + 1) / (k + 10) passes 0.5 at k = 8  # noqa: B007
        before = copy.deepcopy(list(ema.module.parameters()))
        ema.update()
    for kept, old, new in zip(ema.module.parameters(), before, weights, strict=True):
        torch.testing.assert_close(kept.detach(), (old.detach() + new) / 2)


def test_the_copy_is_apart_from_the_module_and_takes_its_buffers():
    net = module()
    ema = EMA(net, 0.9)
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    net.train()(torch.randn(8, 3, dtype=f64))
    ema.update()
    kept, present = dict(ema.module.named_buffers()), dict(net.named_buffers())
    assert torch.equal(kept["1.running_mean"], present["1.running_mean"])
    assert kept["1.num_batches_tracked"] == 1
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\); got 1"):
        EMA(net, 1.0)
