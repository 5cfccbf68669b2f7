"""Posteriors under noise that is not Gaussian: the default method and `TwistedSMC` against exact answers.

    OMP_NUM_THREADS=1 python benchmarks/likelihoods.py

In one dimension a mixture of two normals and a user's own likelihood, against quadrature: log p(y) less the exact one
in nats, the mean's error and the width over the exact width; 2,048 samples, 50 evaluations. Then Poisson counts of 48
numbers under a mixture of six, against importance sampling from each mode's Laplace law; 64 samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import scorefield as sf
from scorefield import inverse

f64 = torch.float64
LOGS = {
    "normal, std .3": lambda x, y: torch.distributions.Normal(x, 0.3).log_prob(y),
    "normal, std .03": lambda x, y: torch.distributions.Normal(x, 0.03).log_prob(y),
    "Poisson, rate exp 2x": lambda x, y: 2 * x * y - torch.exp(2 * x) - torch.lgamma(y + 1),
    "Laplace, scale .2": lambda x, y: torch.distributions.Laplace(x, 0.2).log_prob(y),
    "Student, 3 degrees, scale .3": lambda x, y: torch.distributions.StudentT(3.0, x, 0.3).log_prob(y),
    "of x^2, std .3": lambda x, y: torch.distributions.Normal(x.square(), 0.3).log_prob(y),
    "Poisson, rates exp(1 + x)": lambda x, y: x * y + y - torch.exp(1 + x) - torch.lgamma(y + 1),
}
CASES = dict.fromkeys(LOGS, (0.2, 3.0)) | {"Poisson, rate exp 2x": (1.0, 30.0), "of x^2, std .3": (1.0, 6.0)}
METHODS = {"default": inverse.LaplaceBridge(), "TwistedSMC": inverse.TwistedSMC()}


class Own(inverse.Likelihood):
    """A user's subclass: independent numbers."""

    def __init__(self, y: Tensor, kind: str) -> None:
        self.y, self.kind, self.event_shape = y, kind, tuple(y.shape[1:])

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor) -> Own:
        return Own(self.y[index], self.kind)

    def log_prob(self, x0: Tensor) -> Tensor:
        return LOGS[self.kind](x0, self.y.to(x0)).flatten(1).sum(1)


def one_dimension() -> None:
    mixture = [[0.3, 0.7], [[-1.5], [1.0]], [[[0.16]], [[0.25]]]]
    law = sf.GaussianMixture(*(torch.tensor(part, dtype=f64) for part in mixture))
    denoiser, grid = sf.ExactDenoiser(law, sf.VP()), torch.linspace(-6, 6, 24001, dtype=f64)[:, None]
    print("| likelihood | y | method | log p(y) off | mean off / std | std / exact |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, values in list(CASES.items())[:-1]:
        for y in values:
            given = Own(torch.tensor([[y]], dtype=f64), kind)
            logs = law.log_prob(grid) + given.rows(torch.zeros(len(grid), dtype=torch.int64)).log_prob(grid)
            weights, evidence = torch.softmax(logs, 0), float(torch.logsumexp(logs, 0)) + math.log(12 / 24000)
            mean = float(weights @ grid[:, 0])
            std = math.sqrt(float(weights @ (grid[:, 0] - mean).square()))
            for name, method in METHODS.items():
                try:
                    drawn = inverse.condition(denoiser, given, method).sample(2048, nfe=50)
                except ValueError:  # torch's own, of a law at infinity
                    print(f"| {kind} | {y:g} | {name} | particles left for infinity | | |", flush=True)
                    continue
                assert drawn.log_evidence is not None
                off = float(drawn.log_evidence[0]) - evidence
                found = off, (float(drawn.mean) - mean) / std, float(drawn.std) / std
                print(f"| {kind} | {y:g} | {name} | {' | '.join(f'{v:.3g}' for v in found)} |", flush=True)


def many(d: int = 48, modes: int = 6) -> None:
    g, kind = torch.Generator().manual_seed(0), "Poisson, rates exp(1 + x)"
    means = torch.randn(modes, d, generator=g, dtype=f64)
    root = 0.45 * torch.randn(modes, d, d, generator=g, dtype=f64) / math.sqrt(d)
    law = sf.GaussianMixture(
        torch.ones(modes, dtype=f64) / modes, means, root @ root.mT + 0.1 * torch.eye(d, dtype=f64)
    )
    counts = torch.poisson(torch.exp(1 + law.sample(3, generator=g)), generator=g)
    exact = [_evidence(law, y, kind, g) for y in counts]
    print("\n| evaluations | method | log p(y) off, three observations |\n| --- | --- | --- |")
    for nfe in (30, 100):
        for name, method in METHODS.items():
            drawn = inverse.condition(sf.ExactDenoiser(law, sf.VP()), Own(counts, kind), method).sample(64, nfe=nfe)
            assert drawn.log_evidence is not None
            off = [float(a) - b for a, b in zip(drawn.log_evidence, exact, strict=True)]
            print(f"| {nfe} | {name} | {', '.join(f'{v:.2f}' for v in off)} |", flush=True)


def _evidence(law: sf.GaussianMixture, y: Tensor, kind: str, g: torch.Generator) -> float:
    """By 40,000 draws from the Laplace law of each mode."""
    parts, d = [], y.numel()
    for mean, covariance in zip(law.means, law.covariances, strict=True):
        precision, z = torch.linalg.inv(covariance), mean.clone()
        for _ in range(50):
            rate = torch.exp(1 + z)
            step = torch.linalg.solve(torch.diag(rate) + precision, y - rate - precision @ (z - mean))
            z = z + step.clamp(-1, 1)
        spread = torch.linalg.cholesky(torch.linalg.inv(torch.diag(torch.exp(1 + z)) + precision))
        e = torch.randn(40_000, d, generator=g, dtype=f64)
        x = z + e @ spread.T
        proposed = -e.square().sum(1) / 2 - spread.diagonal().log().sum() - d / 2 * math.log(2 * math.pi)
        own = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x) + LOGS[kind](x, y).sum(1)
        parts.append(torch.logsumexp(own - proposed, 0) - math.log(len(x) * len(law.means)))
    return float(torch.logsumexp(torch.stack(parts), 0))


if __name__ == "__main__":
    torch.set_num_threads(1)
    one_dimension()
    many()
