"""Exact densities, and the flows that must reproduce them."""

import torch

import scorefield as sf
from scorefield import data

f64 = torch.float64
SCHEDULES = [
    sf.VP(),
    sf.SubVP(),
    sf.VE(0.003, 50.0, from_zero=False),
    sf.EDM(),
    sf.Rectified(),
    sf.Discrete.linear(),
]

MIXTURE = sf.GaussianMixture(
    torch.tensor([0.7, 0.3], dtype=f64),
    torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=f64),
    torch.tensor([[0.09, 0.04], [0.04, 0.16]], dtype=f64),
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(d: int) -> sf.Gaussian:
    """Correlated, off centre, with variances from 0.1 to some tenths of d."""
    factor = torch.randn(d, d, dtype=f64, generator=seeded(1))
    return sf.Gaussian(torch.ones(d, dtype=f64), 0.1 * factor @ factor.mT + 0.1 * torch.eye(d, dtype=f64))


def wide_mixture(d: int) -> sf.GaussianMixture:
    """Three components that overlap at every noise level worth integrating over."""
    means = 0.5 * torch.randn(3, d, dtype=f64, generator=seeded(2))
    return sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, torch.full((3, d), 0.2, dtype=f64))


def mixture(d: int) -> sf.GaussianMixture:
    """Three components, each with a covariance of its own."""
    factors = torch.randn(3, d, d, dtype=f64, generator=seeded(4)) / d**0.5
    means = 0.5 * torch.randn(3, d, dtype=f64, generator=seeded(2))
    covariances = 0.4 * factors @ factors.mT + 0.05 * torch.eye(d, dtype=f64)
    return sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, covariances)


def digits(n: int, bandwidth: float = 0.15) -> sf.Empirical:
    """A kernel estimate on n real digits, `(1, 8, 8)`."""
    return sf.Empirical((data.digits().train[:n].double() + 0.5) / 8.5 - 1, bandwidth)
