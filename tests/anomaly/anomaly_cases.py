"""Gaussians, whose likelihoods and score norms have known laws."""

import torch

import scorefield as sf

f64 = torch.float64
D, C, M = 12, 0.5, 0.3  # dimensions, variance, mean of each entry
LAW = sf.Gaussian(torch.full((D,), M, dtype=f64), torch.full((D,), C, dtype=f64))
SCHEDULES = [sf.VP(), sf.VE(0.003, 50.0, from_zero=False), sf.Rectified()]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def isotropic(d: int, variance: float = 1.0) -> sf.Gaussian:
    return sf.Gaussian(torch.zeros(d, dtype=f64), torch.full((d,), variance, dtype=f64))
