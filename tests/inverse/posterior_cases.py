"""Small problems whose posterior is known."""

from __future__ import annotations

from typing import Any

import torch

import scorefield as sf
from scorefield import inverse
from scorefield.inverse import GaussianNoise
from scorefield.inverse.operators import Dense

f64 = torch.float64
NOISE = 0.3


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def gaussian():
    """4-D, correlated."""
    root = normal(4, 4, seed=1) * 0.6
    return sf.Gaussian(normal(4, seed=2), root @ root.T + 0.05 * torch.eye(4, dtype=f64))


def mixture():
    """2-D, three components that one number measured doesn't tell apart."""
    means = torch.tensor([[-1.5, 0.2], [0.3, 1.4], [1.6, -1.3]], dtype=f64)
    covariances = torch.tensor([[[0.1, 0.05], [0.05, 0.2]], [[0.3, -0.1], [-0.1, 0.1]], [[0.05, 0.0], [0.0, 0.2]]])
    return sf.GaussianMixture(torch.tensor([0.5, 0.2, 0.3], dtype=f64), means, covariances.double())


def operator(law, measured=None, seed=3):
    d = law.event_shape[0]
    return Dense(normal(measured or d // 2, d, seed=seed))


def likelihood(law, b=2, noise: Any = NOISE, seed=4) -> Any:
    a = operator(law)
    x0 = law.sample(b, generator=torch.Generator().manual_seed(seed)).double()
    y = a(x0) + torch.as_tensor(noise) * normal(b, a.output_shape[0], seed=seed + 1)
    return GaussianNoise(a, y, noise)


def exact(law, schedule=None):
    return sf.ExactDenoiser(law, schedule or sf.VP())


def condition(*args: Any, **options: Any) -> Any:
    """`inverse.condition`; what its samples may lack, these tests know to be there."""
    return inverse.condition(*args, **options)


def posterior(law, given, i):
    return law.posterior(given.operator.matrix, given.y[i], given.noise_std)


def log_evidence(law, given):
    """log p(y) of each observation, `(B,)`, of a law with components."""
    a, s = given.operator.matrix, torch.as_tensor(given.noise_std, dtype=f64).expand(given.y.shape[1])
    if isinstance(law, sf.Gaussian):
        weights, means, covariances = torch.ones(1, dtype=f64), law.mean[None], law.covariance[None]
    else:
        weights, means, covariances = law.weights, law.means, law.covariances
    components = torch.distributions.MultivariateNormal(means @ a.T, a @ covariances @ a.T + torch.diag(s**2))
    return torch.logsumexp(weights.log() + components.log_prob(given.y[:, None]), 1)
