"""Class-conditional laws in closed form, and networks that take conditions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scorefield as sf
from scorefield import networks

f64 = torch.float64


class ExactClasses(sf.Denoiser):
    """E[x0 | x_t, label] of classes with known laws; without a label, of their mixture."""

    def __init__(self, schedule: sf.Schedule, weights: Tensor, means: Tensor, variances: Tensor) -> None:
        super().__init__()
        self.schedule = schedule
        self.laws = [sf.Gaussian(m, v) for m, v in zip(means, variances, strict=True)]
        self.weights = weights
        self.all = sf.GaussianMixture(weights, means, variances)
        self.data_mean, self.data_std = self.all.mean, float(self.all.variance.mean().sqrt())
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor | float, label: Tensor | None = None) -> Tensor:
        self.calls += 1
        alpha, sigma = self.schedule(t)
        if label is None:
            return self.all.denoise(x_t, alpha, sigma)
        each = torch.stack([law.denoise(x_t, alpha, sigma) for law in self.laws])
        return each[label, torch.arange(len(x_t))]


def classes(schedule: sf.Schedule | None = None, dim: int = 2) -> ExactClasses:
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(3, dim, dtype=f64, generator=generator)
    variances = 0.1 + torch.rand(3, dim, dtype=f64, generator=generator)
    return ExactClasses(schedule or sf.VP(), torch.tensor([0.5, 0.2, 0.3], dtype=f64), means, variances)


def points(n: int = 6, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, dtype=f64, generator=torch.Generator().manual_seed(4))


def network(**conditions: Any) -> sf.NetworkDenoiser:
    """A random network in float64, conditional on 3 classes unless told otherwise."""
    torch.manual_seed(5)
    net = networks.MLP(2, hidden=16, depth=2, **(conditions or {"num_classes": 3}))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
    return sf.NetworkDenoiser(net.double().eval(), sf.VP(), sf.EDMPreconditioning(sigma_data=1.0))


class Counting:
    """Counts a network's calls and the rows it saw."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.rows: list[int] = []
        net.register_forward_pre_hook(lambda module, args: self.rows.append(len(args[0])))
