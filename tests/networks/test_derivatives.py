"""Derivatives of every network that is shipped: forward mode, gradients of gradients, both, and over batches."""

from typing import Any

import pytest
import torch
from torch.func import hessian, jacfwd, jacrev, jvp

import scorefield as sf
from scorefield.networks.attention import attend

NETWORKS = {
    "MLP": (lambda: sf.networks.MLP(6, 16, 2, scalars=("until",)), (6,)),
    "UNet": (lambda: sf.networks.UNet(1, 8, attention_levels=(0,), head_channels=4, scalars=("until",)), (1, 6, 6)),
    "UNet 1-D": (lambda: sf.networks.UNet(2, 8, dims=1), (2, 8)),
    "DiT": (lambda: sf.networks.DiT(1, 2, 16, 2, 2, token_dim=5), (1, 6, 6)),
    "NCSN++": (lambda: sf.networks.UNet.ncsnpp(1, 8, multipliers=(1, 2), blocks=1), (1, 8, 8)),
}
H = 1e-6


@pytest.fixture(params=NETWORKS)
def case(request):
    make, event = NETWORKS[request.param]
    torch.manual_seed(0)
    net = make()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    denoiser = sf.NetworkDenoiser(net.double(), sf.EDM(), sf.EDMPreconditioning(1.0)).eval()  # no dropout
    x, u = torch.randn(2, 3, *event, dtype=torch.float64)
    cond = {"tokens": torch.randn(3, 4, 5)} if request.param == "DiT" else {}
    t = torch.tensor([0.5, 0.3, 0.7])
    return lambda x: sf.score(denoiser, x, t, **cond), x, u


def close(a, b):
    return float((a - b).norm() / b.norm()) < 1e-6


def test_forward_mode(case):
    score, x, u = case
    assert close(jvp(score, (x,), (u,))[1], (score(x + H * u) - score(x - H * u)) / (2 * H))


def test_a_gradient_of_a_gradient(case):
    score, x, u = case

    def gradient(x, again):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(score(x).square().sum(), x, create_graph=again)
        return g, x

    g, leaf = gradient(x, True)
    (product,) = torch.autograd.grad((g * u).sum(), leaf)
    assert close(product, (gradient(x + H * u, False)[0] - gradient(x - H * u, False)[0]) / (2 * H))


def test_attention_under_every_transform():
    q, k, v = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    forward, reverse = (j(lambda q: attend(q, k, v, 2))(q) for j in (jacfwd, jacrev))
    assert torch.allclose(forward, reverse, atol=1e-12)
    second = hessian(lambda q: attend(q, k, v, 2).square().sum())(q).reshape(80, 80)
    assert torch.allclose(second, second.T, atol=1e-12)


def test_masked_attention_has_the_derivatives_of_the_unmasked_rest():
    q, k, v, u = torch.randn(4, 2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, False]] * 2)
    masked = jvp(lambda q: attend(q, k, v, 2, mask), (q,), (u,))[1]
    kept = jvp(lambda q: attend(q, k[:, mask[0]], v[:, mask[0]], 2), (q,), (u,))[1]
    assert torch.allclose(masked, kept, atol=1e-12)
    leaf = q.clone().requires_grad_()
    (g,) = torch.autograd.grad(attend(leaf, k, v, 2, mask).square().sum(), leaf)
    other = q.clone().requires_grad_()
    (h,) = torch.autograd.grad(attend(other, k[:, mask[0]], v[:, mask[0]], 2).square().sum(), other)
    assert torch.allclose(g, h, atol=1e-12)


def test_scalars_are_told_and_others_refused():
    torch.manual_seed(0)
    net = sf.networks.MLP(2, 8, 1, scalars=("until",))
    x, level = torch.randn(3, 2), torch.rand(3)
    last: Any = net.exit[-1]
    torch.nn.init.normal_(last.weight)
    assert torch.equal(net(x, level), net(x, level, until=torch.rand(3)))  # it begins by adding nothing
    until: Any = net.condition.scalars["until"]
    torch.nn.init.normal_(until[-1].weight)
    assert not torch.equal(net(x, level, until=torch.zeros(3)), net(x, level, until=torch.ones(3)))
    with pytest.raises(TypeError, match="until was given to a network built without scalars='until'"):
        sf.networks.MLP(2)(x, level, until=torch.zeros(3))


def test_dropout_drops_the_same_units_within_a_transform():
    torch.manual_seed(0)
    layer = sf.networks.Dropout(0.5)
    sf.networks.set_dropout(layer, 3, torch.arange(4))
    x = torch.randn(4, 6)
    kept, rate = jvp(layer, (x,), (torch.ones_like(x),))[:2]
    assert torch.equal(kept, layer(x))
    assert torch.equal(rate, 2.0 * (kept != 0))
