"""What shares a minimiser finds it: closed-form optima of linear scores, and a mixture's score learnt from scratch."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import losses
from scorefield.losses import integrands, projections

f64 = torch.float64
LAWS = [projections.gaussian, projections.rademacher, projections.sphere]
laws = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# Closed-form minimisers on a Gaussian


class LinearScore(nn.Module):
    """s = W x + b."""

    def __init__(self, w, b):
        super().__init__()
        self.w, self.b = nn.Parameter(w.clone()), nn.Parameter(b.clone())

    def forward(self, x):
        return x @ self.w.T + self.b


def gaussian_sample(d, n=400):
    root = torch.randn(d, d, dtype=f64, generator=seeded(d)) / math.sqrt(d) + 0.5 * torch.eye(d, dtype=f64)
    return torch.randn(n, d, dtype=f64, generator=seeded(d + 1)) @ root.T + 1.0


def largest_gradient(w, b, integrand):
    score = LinearScore(w, b)
    gradients = torch.autograd.grad(integrand(score).mean(), list(score.parameters()))
    return max(float(g.abs().max()) for g in gradients)


def moments(x):
    centred = x - x.mean(0)
    return x.mean(0), centred.T @ centred / len(x)


@pytest.mark.parametrize("d", [2, 8, 64])
def test_the_optimal_linear_score_is_in_closed_form(d):
    """On any sample the ISM optimum is W = -C^-1, b = C^-1 m, m and C the sample's own: the gradient there is 0.

    SSM-VR with directions v of mean outer product V has W = -V C^-1; central differences are exact for a linear score.
    """
    x = gaussian_sample(d)
    mean, covariance = moments(x)
    precision = torch.linalg.inv(covariance)
    scale = float(precision.abs().max())
    assert largest_gradient(-precision, precision @ mean, lambda s: integrands.implicit(s, x)) < 1e-9 * scale
    assert largest_gradient(-1.1 * precision, precision @ mean, lambda s: integrands.implicit(s, x)) > 1e-3

    v = projections.gaussian(x, seeded(3))
    outer = v.T @ v / len(v)
    w, b = -outer @ precision, outer @ precision @ mean
    assert largest_gradient(w, b, lambda s: integrands.sliced(s, x, v)) < 1e-9 * scale
    assert largest_gradient(w, b, lambda s: integrands.finite_difference(s, x, v, 0.1)) < 1e-9 * scale

    every = math.sqrt(d) * torch.eye(d, dtype=f64)[:, None, :].expand(d, *x.shape)  # a design with V = I for each x
    for reduced in (True, False):
        integrand = partial(integrands.sliced, x=x, v=every, variance_reduced=reduced)
        assert largest_gradient(-precision, precision @ mean, integrand) < 1e-9 * scale


@pytest.mark.parametrize("d", [2, 8, 64])
def test_directions_on_the_unit_sphere_would_lose_the_factor_d(d):
    """Without the radius sqrt(d) the trace comes out d times too small and the optimum is -C^-1 / d: ours is not."""
    x = gaussian_sample(d)
    mean, covariance = moments(x)
    precision = torch.linalg.inv(covariance)
    unit = torch.eye(d, dtype=f64)[:, None, :].expand(d, *x.shape)
    integrand = partial(integrands.sliced, x=x, v=unit)
    assert largest_gradient(-precision / d, precision @ mean / d, integrand) < 1e-9 * float(precision.abs().max())
    v = projections.sphere(x.repeat(50, 1), seeded(0))
    trace = ((v @ precision) * v).sum(1)
    assert abs(float(trace.mean() / precision.trace()) - 1) < 5 * float(trace.std() / trace.mean()) / len(v) ** 0.5


@pytest.mark.parametrize("d", [2, 8])
@laws
def test_the_plain_sliced_optimum_solves_its_linear_system(d, law):
    """mean[v (v, 0)^T + (v^T W x~) v x~^T] = 0, x~ = (x, 1): d (d + 1) equations of the sample."""
    x = gaussian_sample(d)
    v = law(x, seeded(5))
    extended = torch.cat([x, torch.ones(len(x), 1, dtype=f64)], 1)
    features = (v[:, :, None] * extended[:, None, :]).flatten(1)
    right = torch.cat([v.T @ v / len(v), torch.zeros(d, 1, dtype=f64)], 1).flatten()
    solution = torch.linalg.solve(features.T @ features / len(x), -right).reshape(d, d + 1)
    integrand = partial(integrands.sliced, x=x, v=v, variance_reduced=False)
    scale = float(solution.abs().max())
    assert largest_gradient(solution[:, :d], solution[:, d], integrand) < 1e-8 * scale


@pytest.mark.parametrize("d", [2, 8, 64])
@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(sigma_max=3.0)], ids=lambda s: type(s).__name__)
def test_the_linear_denoiser_of_a_gaussian_is_each_objectives_minimum(schedule, d):
    """On a sample with the exact moments of N(m, C) x N(0, I), and directions with V = I for each of its members.

    There the gradient in the parameters of a linear network is zero at the exact denoiser, for every objective.
    """
    n, t = 4 * d + 8, torch.tensor(0.3, dtype=f64)
    alpha, sigma = schedule(t)
    z = torch.randn(n, 2 * d, dtype=f64, generator=seeded(0))
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / n)).T  # mean 0 and covariance I, exactly
    root = 0.3 * torch.randn(d, d, dtype=f64, generator=seeded(1)) / math.sqrt(d) + 0.6 * torch.eye(d, dtype=f64)
    mean = torch.linspace(-1, 1, d, dtype=f64)
    x0, eps, covariance = mean + z[:, :d] @ root.T, z[:, d:], root @ root.T
    gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(d, dtype=f64))

    def gradient(loss, gain):
        net = LinearScore(gain, mean - alpha * gain @ mean)
        denoiser = sf.NetworkDenoiser(_IgnoreLevel(net), schedule, sf.X0())
        gradients = torch.autograd.grad(loss(denoiser, x0, t=t, eps=eps).mean(), list(net.parameters()))
        return max(float(g.abs().max()) for g in gradients)

    every = math.sqrt(d) * torch.eye(d, dtype=f64)
    directions = iter(())

    def complete(x, generator):  # each call the next axis: together, V = I for each sample
        return next(directions).expand_as(x)

    exact = sf.ExactDenoiser(sf.Gaussian(mean, covariance), schedule)
    for loss in (
        losses.denoising,
        partial(losses.explicit, exact=exact),
        losses.implicit,
        partial(losses.sliced, projection=complete, projections=d),
        partial(losses.sliced, projection=complete, projections=d, variance_reduced=False),
        partial(losses.finite_difference, projection=complete, projections=d),
    ):
        directions = iter(every)
        at_exact = gradient(loss, gain)
        directions = iter(every)
        assert at_exact < 1e-6 * gradient(loss, 0.9 * gain)


class _IgnoreLevel(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, level):
        return self.net(x)


# Learnt from scratch

MIXTURE = sf.GaussianMixture(
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([[1.2, 0.3], [-1.0, 0.8], [-0.2, -1.2]]),
    torch.tensor([[[0.20, 0.08], [0.08, 0.10]], [[0.10, 0.0], [0.0, 0.20]], [[0.15, -0.05], [-0.05, 0.10]]]),
)
LEVEL = torch.tensor(0.5, dtype=f64)
NOISY = sf.EDM(sigma_max=0.8)  # sigma = 0.4 at LEVEL
OBJECTIVES = {
    "explicit": partial(losses.explicit, exact=sf.ExactDenoiser(MIXTURE, NOISY)),
    "denoising": losses.denoising,
    "implicit": losses.implicit,
    "sliced": partial(losses.sliced, variance_reduced=False, projections=2),
    "sliced, variance reduced": losses.sliced,
    "finite difference": losses.finite_difference,
}


def learn(loss, steps=500, batch=3072):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 2))
    denoiser = sf.NetworkDenoiser(_IgnoreLevel(net), NOISY, sf.EDMPreconditioning(1.0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.9, 0.98))
    generator = seeded(1)
    pool = MIXTURE.sample(batch * steps, generator=generator).split(batch)
    for step, x0 in enumerate(pool):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss(denoiser, x0, t=LEVEL, generator=generator).mean().backward()
        optimizer.step()
    return denoiser


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_learns_the_score_of_a_mixture(name):
    """E_p||s_theta - s_p||^2 / E_p||s_p||^2 < 0.02 over p_t."""
    with torch.random.fork_rng():
        denoiser = learn(OBJECTIVES[name])
    x = MIXTURE.noised(1.0, 0.4).sample(20_000, generator=seeded(2))
    exact = MIXTURE.noised(1.0, 0.4).score(x)
    with torch.no_grad():
        error = (sf.score(denoiser, x, LEVEL) - exact).square().sum() / exact.square().sum()
    assert float(error) < 0.02  # measured: 0.002 explicit, 0.010 denoising, 0.013 the rest
