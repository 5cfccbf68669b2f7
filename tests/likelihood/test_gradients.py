"""Gradients of log p through the flow: against scores, derivatives of closed forms, and differences."""

import math
from typing import Any

import pytest
import torch
from likelihood_cases import MIXTURE, SCHEDULES, f64, seeded, wide_mixture
from torch import nn

import scorefield as sf
from scorefield import data, networks
from scorefield.likelihood import Hadamard

FAR = sf.GaussianMixture(  # midway between the modes the flow is stiff
    torch.tensor([0.5, 0.5], dtype=f64),
    torch.tensor([[5.0, 0.0], [-5.0, 0.0]], dtype=f64),
    torch.full((2, 2), 0.01, dtype=f64),
)


def gradient(denoiser, x, **options):
    x = x.clone().requires_grad_()
    result = sf.log_prob(denoiser, x, differentiable=True, **options)
    return torch.autograd.grad(result.log_prob.sum(), x)[0], result


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_gradient_in_x_is_the_score_and_nothing_else_changes(schedule):
    """Off by about a tolerance: 1e-2, 1e-3 and (VE, which begins at sigma = 0.003) 1.2e-3 at the three tolerances."""
    x = MIXTURE.sample(30, generator=seeded(0))
    denoiser, score = sf.ExactDenoiser(MIXTURE, schedule), MIXTURE.score(x)
    for tolerance, off in ((1e-2, 3e-2), (1e-3, 1e-2), (1e-5, 3e-3)):
        found, result = gradient(denoiser, x, tolerance=tolerance, end="law")
        assert float((found - score).abs().max()) < off
        plain = sf.log_prob(denoiser, x.clone().requires_grad_(), tolerance=tolerance, end="law")
        for name, value in plain._asdict().items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, getattr(result, name).detach())
                assert not value.requires_grad
                assert getattr(result, name).requires_grad == (name in ("log_prob", "latent"))


def test_every_row_s_gradient_is_its_own_in_any_chunk():
    x = MIXTURE.sample(9, generator=seeded(1))
    denoiser = sf.ExactDenoiser(MIXTURE, sf.VP())
    whole = gradient(denoiser, x)[0]
    assert torch.equal(gradient(denoiser, x, chunk=4)[0], whole)
    assert torch.equal(gradient(denoiser, x[3:5])[0], whole[3:5])


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
def test_probes_in_full_number_transforms_and_float32(dtype):
    law, scale = wide_mixture(16), data.Scale(2.0, 1.0)
    x = law.sample(4, generator=seeded(0))
    denoiser = sf.ExactDenoiser(law, sf.EDM())
    raw = scale.inverse(x).to(dtype)
    found, _ = gradient(denoiser, raw, tolerance=1e-4, divergence=Hadamard(16), transform=scale)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), 2 * law.score(x), rtol=0, atol=2e-2)


def test_where_the_flow_is_stiff_and_log_p_comes_at_a_fixed_z():
    x = torch.tensor([[0.01, 0.0], [5.0, 0.1]], dtype=f64)
    found, result = gradient(sf.ExactDenoiser(FAR, sf.VP()), x, end="law")
    assert result.followed.tolist() == [False, True]
    torch.testing.assert_close(found, FAR.score(x), rtol=1e-3, atol=0.05)  # of 499 and 10


class Fitted(sf.Denoiser):
    """N(m, c I), both learned; told that the data have mean 0 and standard deviation 1."""

    schedule = sf.VP()

    def __init__(self):
        super().__init__()
        self.m = nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=f64))
        self.log_c = nn.Parameter(torch.tensor(-0.7, dtype=f64))

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        alpha, sigma, c = (torch.as_tensor(v).reshape(-1, 1) for v in (alpha, sigma, self.log_c.exp()))
        return self.m + alpha * c / (alpha**2 * c + sigma**2) * (x_t - alpha * self.m)


def test_the_gradient_in_the_parameters_is_that_of_the_law_they_make():
    """log N(x; m, c I): (x - m) / c, and |x - m|^2 / (2 c) - d / 2 in log c."""
    model = Fitted()
    x = torch.randn(40, 3, dtype=f64, generator=seeded(0))
    result = sf.log_prob(model, x, tolerance=1e-6, end="law", differentiable=True)
    found = torch.autograd.grad(result.log_prob.sum(), [model.m, model.log_c])
    c, apart = model.log_c.detach().exp(), x - model.m.detach()
    torch.testing.assert_close(found[0], (apart / c).sum(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1], (apart.square().sum(1) / (2 * c) - 1.5).sum(), rtol=1e-3, atol=1e-3)


def test_maximum_likelihood_through_the_flow_finds_the_moments():
    """A few steps of Newton's kind on what is returned: the mean and variance of the data, to the tolerance."""
    model, x = Fitted(), 0.5 + 0.8 * torch.randn(200, 3, dtype=f64, generator=seeded(1))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=12)

    def closure():
        optimizer.zero_grad()
        loss = -sf.log_prob(model, x, tolerance=1e-5, end="law", differentiable=True).log_prob.mean()
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    torch.testing.assert_close(model.m.detach(), x.mean(0), rtol=0, atol=3e-3)
    assert math.exp(model.log_c.item()) == pytest.approx(float((x - x.mean(0)).square().mean()), rel=1e-2)


def test_a_network_s_gradients_are_what_differences_say():
    """In x and in three weights. Differences of a tolerance's noise: 1e-6 over a step of 1e-3."""
    torch.manual_seed(0)
    net = networks.MLP(2, hidden=16).double()
    nn.init.normal_([p for p in net.parameters() if p.ndim == 2][-1], std=0.2)  # it begins at 0
    model = sf.NetworkDenoiser(net, sf.VP(), sf.EDMPreconditioning(sigma_data=1.0))
    x = torch.randn(3, 2, dtype=f64, generator=seeded(2))
    options: dict[str, Any] = {"tolerance": 1e-7, "s_min": 0.02}
    leaf = x.clone().requires_grad_()
    total = sf.log_prob(model, leaf, differentiable=True, **options).log_prob.sum()
    weights = [p for p in net.parameters() if p.ndim == 2]
    of_x, *of_weights = torch.autograd.grad(total, [leaf, weights[0], weights[-1]])

    def log_p(at):
        return float(sf.log_prob(model, at, **options).log_prob.sum())

    h = 1e-3
    for i, j in ((0, 0), (1, 1)):
        step = torch.zeros_like(x)
        step[i, j] = h
        assert float(of_x[i, j]) == pytest.approx((log_p(x + step) - log_p(x - step)) / (2 * h), rel=2e-3, abs=2e-3)
    for weight, slope in zip((weights[0], weights[-1]), of_weights, strict=True):
        place = divmod(int(slope.abs().argmax()), slope.shape[1])
        values = []
        for side in (1, -1):
            with torch.no_grad():
                weight[place] += side * h
            values.append(log_p(x))
            with torch.no_grad():
                weight[place] -= side * h
        assert float(slope[place]) == pytest.approx((values[0] - values[1]) / (2 * h), rel=2e-3, abs=2e-3)
