"""The score-matching objectives against exact answers: each other's means, and derivatives known by hand."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import losses
from scorefield.losses import integrands, projections, weights

f64 = torch.float64
LAWS = [projections.gaussian, projections.rademacher, projections.sphere]
laws = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Bent(sf.Denoiser):
    """A wrong denoiser, smooth and not linear: change(E[x0 | x_t])."""

    def __init__(self, denoiser, size):
        super().__init__()
        self.denoiser, self.size, self.schedule = denoiser, size, denoiser.schedule

    def forward(self, x_t, t):
        x0 = self.denoiser(x_t, t)
        return (1 + self.size / 3) * x0 + self.size * torch.sin(2 * x0) + 0.1 * self.size


# The means of the objectives differ by constants: by quadrature, no sampling.

LINE = sf.GaussianMixture(
    torch.tensor([0.3, 0.7], dtype=f64),
    torch.tensor([[-1.0], [0.6]], dtype=f64),
    torch.tensor([[0.09], [0.25]], dtype=f64),
)


def mean_over_x_t(loss, denoiser, t):
    """E over p_t by the trapezoidal rule, spectrally accurate for what is smooth and vanishes; eps = 0 sets x_t."""
    alpha, sigma = (float(v) for v in denoiser.schedule(t))
    x_t = torch.linspace(-12, 12, 4001, dtype=f64)[:, None]
    p = LINE.noised(alpha, sigma).log_prob(x_t).exp()
    value = loss(denoiser, x_t / alpha, t=t, eps=torch.zeros_like(x_t)).detach()
    return float(torch.trapezoid(p * value, x_t[:, 0]))


def mean_over_x0_and_eps(loss, denoiser, t):
    x0, eps = torch.linspace(-5, 5, 401, dtype=f64), torch.linspace(-8, 8, 301, dtype=f64)
    a, e = (v.reshape(-1, 1) for v in torch.meshgrid(x0, eps, indexing="ij"))
    p = LINE.log_prob(a).exp() * torch.exp(-(e[:, 0] ** 2) / 2) / math.sqrt(2 * math.pi)
    return float((p * loss(denoiser, a, t=t, eps=e)).sum() * (x0[1] - x0[0]) * (eps[1] - eps[0]))


@pytest.mark.parametrize("weight", [None, weights.eps, weights.likelihood], ids=["x0", "eps", "likelihood"])
@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(), sf.Rectified()], ids=lambda s: type(s).__name__)
def test_the_objectives_differ_by_constants_of_the_model(schedule, weight):
    """implicit = sliced = denoising = explicit + w mmse, whatever the denoiser; in one dimension v^2 = 1."""
    t, exact = torch.tensor(0.3, dtype=f64), sf.ExactDenoiser(LINE, schedule)
    explicit = partial(losses.explicit, exact=exact, weight=weight)
    mmse = mean_over_x0_and_eps(partial(losses.denoising, weight=weight), exact, t)
    assert mmse > 0
    for size in (0.0, 0.4, -0.3):
        denoiser = Bent(exact, size)
        denoising = mean_over_x0_and_eps(partial(losses.denoising, weight=weight), denoiser, t)
        assert mean_over_x_t(explicit, denoiser, t) + mmse == pytest.approx(denoising, rel=1e-9)
        for loss in (losses.implicit, losses.sliced, partial(losses.sliced, variance_reduced=False)):
            assert mean_over_x_t(partial(loss, weight=weight), denoiser, t) == pytest.approx(denoising, rel=1e-9)
        difference = mean_over_x_t(partial(losses.finite_difference, weight=weight, step=1e-3), denoiser, t)
        assert difference == pytest.approx(denoising, rel=1e-5)  # step^2 = 1e-6


def test_the_integrand_is_half_the_square_plus_the_divergence():
    """E_p[1/2 ||s||^2 + div s] = explicit - 1/2 E_p||s_p||^2, in p's own units (a text has E[lap log p + 2 div s])."""
    x = torch.linspace(-12, 12, 4001, dtype=f64)[:, None]
    p = LINE.log_prob(x).exp()

    def mean(value):
        return float(torch.trapezoid(p * value.detach(), x[:, 0]))

    own = mean(integrands.explicit(torch.zeros_like, x, LINE.score))
    for slope in (-0.3, -1.0, -2.5):
        score = lambda y, a=slope: a * y + torch.sin(y)  # noqa: E731
        assert mean(integrands.implicit(score, x)) == pytest.approx(
            mean(integrands.explicit(score, x, LINE.score)) - own, abs=1e-10
        )
    assert mean(integrands.implicit(LINE.score, x)) == pytest.approx(-own, abs=1e-10)


def test_the_fisher_divergence_is_not_symmetric():
    """F(p||q) = E_p||s_p - s_q||^2: for N(0, 1) and N(0, 4) it is 9/16 one way and 9/4 the other."""
    p, q = (sf.Gaussian(torch.zeros(1, dtype=f64), torch.tensor([v], dtype=f64)) for v in (1.0, 4.0))
    x = torch.linspace(-30, 30, 8001, dtype=f64)[:, None]
    for one, other, expected in ((p, q, 9 / 16), (q, p, 9 / 4)):
        value = 2 * integrands.explicit(other.score, x, one.score)
        assert float(torch.trapezoid(one.log_prob(x).exp() * value, x[:, 0])) == pytest.approx(expected, rel=1e-10)


def test_the_noise_is_minus_sigma_times_the_score():
    """DSM on the score, weighted by sigma^2, is DDPM's loss; (x - s) / sigma would not be."""
    schedule, t = sf.VP(), torch.tensor([0.1, 0.4, 0.8], dtype=f64)
    data = sf.Gaussian(torch.zeros(3, dtype=f64), torch.tensor([0.5, 1.0, 2.0], dtype=f64))
    denoiser = Bent(sf.ExactDenoiser(data, schedule), 0.3)
    x0, eps = (torch.randn(3, 3, dtype=f64, generator=seeded(k)) for k in (0, 1))
    x_t, sigma = schedule.perturb(x0, t, eps), schedule.sigma(t)[:, None]
    by_score = sigma[:, 0] ** 2 * (sf.score(denoiser, x_t, t) + eps / sigma).square().mean(1)
    torch.testing.assert_close(by_score, losses.denoising(denoiser, x0, t=t, eps=eps, weight=weights.ncsn))
    torch.testing.assert_close(sf.eps(denoiser, x_t, t), -sigma * sf.score(denoiser, x_t, t))


# Derivatives of the score


def energy_score(x):
    """The gradient of a quartic with coupled coordinates; its Jacobian's trace is known."""
    return -(x**3) - x.sum(1, keepdim=True)


def energy_trace(x):
    return (-3 * x**2 - 1).sum(1)


@laws
def test_the_sliced_integrand_averages_to_the_implicit_one(law):
    """Over 20,000 directions, for each of 4 points: 5 standard errors."""
    x = torch.randn(4, 3, dtype=f64, generator=seeded(0))
    exact = energy_trace(x) + energy_score(x).square().sum(1) / 2
    torch.testing.assert_close(integrands.implicit(energy_score, x), exact)
    v = law(x.repeat(20_000, 1), seeded(1)).reshape(20_000, 4, 3)
    for reduced in (True, False):
        each = integrands.sliced(energy_score, x.repeat(20_000, 1), v.reshape(-1, 3), variance_reduced=reduced)
        each = each.reshape(20_000, 4)
        assert ((each.mean(0) - exact).abs() < 5 * each.std(0) / math.sqrt(20_000)).all()
    together = integrands.sliced(energy_score, x, v[:7])
    separate = torch.stack([integrands.sliced(energy_score, x, u) for u in v[:7]]).mean(0)
    torch.testing.assert_close(together, separate)


@laws
def test_directions_have_identity_covariance_and_the_stated_variance_of_the_trace(law):
    """E[v v^T] = I and Var[v^T J v] as the module states, on 200,000 directions: 5 standard errors."""
    d, n = 5, 200_000
    v = law(torch.zeros(n, d, dtype=f64), seeded(0))
    outer = v[:, :, None] * v[:, None, :]
    assert ((outer.mean(0) - torch.eye(d, dtype=f64)).abs() <= 5 * outer.std(0) / math.sqrt(n) + 1e-12).all()
    root = torch.randn(d, d, dtype=f64, generator=seeded(1))
    j = root + root.T
    quadratic = ((v @ j) * v).sum(1)
    frobenius, trace = float(j.square().sum()), float(j.trace())
    stated = {
        "gaussian": 2 * frobenius,
        "rademacher": 2 * (frobenius - float(j.diagonal().square().sum())),
        "sphere": 2 * d / (d + 2) * (frobenius - trace**2 / d),
    }[law.__name__]
    spread = (quadratic - quadratic.mean()).square()
    assert abs(float(spread.mean()) - stated) < 5 * float(spread.std()) / math.sqrt(n)
    if law is not projections.gaussian:
        torch.testing.assert_close(v.square().sum(1), torch.full((n,), float(d), dtype=f64))


def test_central_differences_err_with_the_square_of_the_step_as_stated():
    """h^2 (1/6 v^T D^3 s[v, v, v] + 1/2 s^T D^2 s[v, v]), for s = sin: D^3 s = -cos, D^2 s = -sin."""
    x = torch.randn(6, 4, dtype=f64, generator=seeded(0))
    v = torch.randn(6, 4, dtype=f64, generator=seeded(1))
    exact = integrands.sliced(torch.sin, x, v)
    stated = -(v**4 * x.cos()).sum(1) / 6 - (x.sin() ** 2 * v**2).sum(1) / 2
    for step in (0.04, 0.02, 0.01):
        error = (integrands.finite_difference(torch.sin, x, v, step) - exact) / step**2
        assert float((error.detach() - stated).abs().max()) < 40 * step**2  # the next term, of order h^4
    each = integrands.finite_difference(torch.sin, x, v, torch.full((6,), 0.02, dtype=f64))
    torch.testing.assert_close(each, integrands.finite_difference(torch.sin, x, v, 0.02))


def test_the_loss_reaches_parameters_through_the_derivative_of_the_score():
    """d/da of tr d(a tanh x)/dx + 1/2 ||a tanh x||^2, by hand."""
    a = torch.tensor(0.7, dtype=f64, requires_grad=True)
    x = torch.randn(5, 3, dtype=f64, generator=seeded(0))
    integrands.implicit(lambda y: a * torch.tanh(y), x).sum().backward()
    expected = (1 - x.tanh() ** 2).sum() + 0.7 * (x.tanh() ** 2).sum()
    torch.testing.assert_close(a.grad, expected)


def test_the_score_may_be_the_gradient_of_an_energy():
    """With p proportional to exp(-a |x|^4 / 4) the parameter's gradient goes through three derivatives, all by hand."""
    a = torch.tensor(0.7, dtype=f64, requires_grad=True)
    x, d = torch.randn(5, 3, dtype=f64, generator=seeded(0)), 3

    def score(y):
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            energy = a * y.square().sum(1).square() / 4
            return -torch.autograd.grad(energy.sum(), y, create_graph=True)[0]

    r2 = x.square().sum(1)
    exact = 0.7**2 * r2**3 / 2 - 0.7 * (d + 2) * r2  # s = -a |x|^2 x, div s = -a (d + 2) |x|^2
    value = integrands.implicit(score, x)
    torch.testing.assert_close(value, exact)
    (slope,) = torch.autograd.grad(value.sum(), a)
    torch.testing.assert_close(slope, (0.7 * r2**3 - (d + 2) * r2).sum())
    with torch.no_grad():
        without = integrands.implicit(score, x)
    torch.testing.assert_close(without, exact)
    assert not without.requires_grad


def test_sliced_and_central_differences_agree_on_a_network_of_images_with_attention():
    """Gradients too, which need the attention's second derivative: the step's error is of order 1e-6 in float64."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24).double()

        def forward(self, x, level):
            q, k, v = self.qkv(x).chunk(3, -1)
            return nn.functional.scaled_dot_product_attention(q, k, v) * level.reshape(-1, 1, 1, 1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Attention()
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V())
    x0, t = torch.randn(3, 1, 8, 8, dtype=f64, generator=seeded(0)), torch.tensor([0.2, 0.4, 0.6], dtype=f64)
    results = []
    for loss in (losses.sliced, partial(losses.finite_difference, step=1e-3)):
        value = loss(denoiser, x0, t=t, generator=sf.Stream(0, torch.arange(3)))
        gradients = torch.autograd.grad(value.sum(), list(net.parameters()))
        results.append(torch.cat([value.detach(), *(g.flatten() for g in gradients)]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_a_condition_reaches_the_denoiser():
    """A label for each sample is the network with that label built in."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = sf.networks.MLP(2, hidden=8, depth=1, num_classes=3).double()
        for p in net.parameters():
            nn.init.normal_(p, std=0.3)

    class Bound(nn.Module):
        def forward(self, x, level):
            return net(x, level, label=label)

    x0, label, t = torch.randn(4, 2, dtype=f64), torch.tensor([0, 2, 1, 0]), torch.tensor(0.3, dtype=f64)
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64)), sf.VP())
    for loss in (partial(losses.explicit, exact=exact), losses.implicit, losses.sliced, losses.finite_difference):
        given, built_in = (
            loss(sf.NetworkDenoiser(n, sf.VP(), sf.V()), x0, t=t, cond=c, generator=seeded(0))
            for n, c in ((net, {"label": label}), (Bound(), None))
        )
        torch.testing.assert_close(given, built_in)


def test_a_score_that_ignores_x_has_no_divergence():
    constant = torch.ones(3, 2, dtype=f64)
    for value in (
        integrands.implicit(lambda x: constant, constant),
        integrands.sliced(lambda x: constant, constant, constant),
        integrands.finite_difference(lambda x: constant, constant, constant, 0.1),
    ):
        assert value.tolist() == [1.0] * 3


def test_bad_input_gets_one_clear_line():
    denoiser, x0 = sf.ExactDenoiser(LINE, sf.Rectified()), torch.zeros(3, 1)
    for t, got in ((0.0, "0"), (1.0, "1")):
        with pytest.raises(ValueError, match=f"t must have alpha > 0 and sigma > 0.*got t = {got}"):
            losses.implicit(denoiser, x0, t=torch.tensor(t, dtype=f64))
    with pytest.raises(ValueError, match="projections must be at least 1; got 0"):
        losses.sliced(denoiser, x0, t=torch.tensor(0.5), projections=0)
    with pytest.raises(ValueError, match="step must be positive; got 0"):
        losses.finite_difference(denoiser, x0, t=torch.tensor(0.5), step=0)
    with pytest.raises(ValueError, match=r"v must have the shape of x, \(3, 1\)"):
        integrands.sliced(torch.sin, x0, torch.zeros(3, 2))
