"""Muon against singular value decompositions and a step worked out by hand."""

import math

import pytest
import torch
from torch import nn

from scorefield.networks import UNet
from scorefield.training.muon import COEFFICIENTS, MuonOptimizer, matrices, orthogonal


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def polynomial(s, steps=5):
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return s


@pytest.mark.parametrize("shape", [(12, 12), (8, 40), (40, 8)])
def test_singular_vectors_stay_and_singular_values_follow_the_polynomial(shape):
    g = normal(*shape)
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    expected = u @ torch.diag(polynomial(s / s.norm())) @ vt
    torch.testing.assert_close(orthogonal(g), expected, rtol=1e-9, atol=1e-9)


def test_singular_values_over_a_range_of_six_hundred_come_near_one():
    s = torch.logspace(math.log10(0.0016), 0, 4000, dtype=torch.float64)
    values = polynomial(s)
    assert float(values.min()) == pytest.approx(0.682, abs=0.002)
    assert float(values.max()) == pytest.approx(1.203, abs=0.002)


def test_bfloat16_products_change_the_step_by_their_precision():
    g = normal(32, 96).float()
    difference = orthogonal(g, dtype=torch.bfloat16).float() - orthogonal(g)
    assert float(difference.norm() / orthogonal(g).norm()) < 0.06  # 15 products, each rounded by up to 2^-8


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e4])
def test_a_step_on_an_orthogonal_gradient_is_known_whatever_the_gradients_size(size):
    n, lr, momentum, decay = 16, 0.1, 0.9, 0.5
    q, _ = torch.linalg.qr(normal(n, n))
    w = nn.Parameter(normal(n, n, seed=1))
    before = w.detach().clone()
    w.grad = size * q
    MuonOptimizer([w], lr, momentum=momentum, weight_decay=decay, dtype=torch.float64).step()
    s = float(polynomial(torch.tensor(n**-0.5, dtype=torch.float64)))  # all singular values of q / |q| are n^(-1/2)
    expected = (1 - lr * decay) * before - lr * 0.2 * math.sqrt(n) * s * q
    torch.testing.assert_close(w.detach(), expected, rtol=1e-9, atol=1e-9)


def test_the_second_step_looks_ahead_along_the_averaged_gradient():
    lr, mu = 0.1, 0.8
    g1, g2, w = normal(6, 9), normal(6, 9, seed=1), nn.Parameter(torch.zeros(6, 9, dtype=torch.float64))
    optimizer = MuonOptimizer([w], lr, momentum=mu, dtype=torch.float64)
    w.grad = g1
    optimizer.step()
    first = w.detach().clone()
    w.grad = g2
    optimizer.step()
    average = (1 - mu) * (mu * g1 + g2)
    expected = first - lr * 0.2 * 3 * orthogonal((1 - mu) * g2 + mu * average)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-9, atol=1e-9)


def test_a_convolution_moves_as_the_matrix_of_its_output_channels():
    g = normal(8, 3, 3, 3)
    kernel, matrix = (nn.Parameter(torch.zeros_like(g.reshape(shape))) for shape in ((8, 3, 3, 3), (8, 27)))
    for p in (kernel, matrix):
        p.grad = g.reshape(p.shape).clone()
        MuonOptimizer([p], dtype=torch.float64).step()
    assert torch.equal(kernel.reshape(8, 27), matrix)


def test_zero_gradient_moves_nothing():
    w = nn.Parameter(torch.ones(4, 5))
    w.grad = torch.zeros(4, 5)
    MuonOptimizer([w]).step()
    assert torch.equal(w.detach(), torch.ones(4, 5))


def test_every_parameter_goes_to_exactly_one_optimizer():
    net = UNet(1, width=8, num_classes=3)
    hidden, rest = matrices(net, skip=(net.entry, net.exit, net.condition))
    assert {id(p) for p in hidden} | {id(p) for p in rest} == {id(p) for p in net.parameters()}
    assert len(hidden) + len(rest) == len(list(net.parameters()))
    assert all(p.ndim >= 2 for p in hidden)
    outside = {id(p) for m in (net.entry, net.exit, net.condition) for p in m.parameters()}
    assert not outside & {id(p) for p in hidden}
    inside = {id(p) for n, p in net.named_parameters() if n.startswith("middle.conv") and p.ndim > 1}
    assert inside <= {id(p) for p in hidden}


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [((3,), {}, r"2 or more dimensions; got one of shape \(3,\)"), ((3, 3), {"momentum": 1.0}, "momentum must lie")],
)
def test_bad_arguments_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        MuonOptimizer([nn.Parameter(torch.zeros(shape))], **options)
