"""How often log p lies in the interval that `log_prob` states for it, and whether the tolerance was met.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--n 1000] [--only NAME ...]

Laws whose log p is known; n draws of each, float64, VP, tolerance 1e-3 nats a dimension, the default; the interval is
widened by `LogProb.end`, since the truth is the law's and VP starts from a Gaussian. And a field with an error and a
modest end, whose truth is the density of its flow. With probes the interval is mostly their standard error, and 95% of
cases should lie in it; more where every probe sees the same trace, as in an isotropic field. With the exact trace it is
a bound on what the steps and the ends leave, and what counts is the largest error over the tolerance and the end.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy import special
from torch import Tensor

import scorefield as sf
from scorefield import data
from scorefield.likelihood import Divergence, Exact, Hadamard, Rademacher

OUT = Path(__file__).parent / "out"
f64 = torch.float64


class Case(NamedTuple):
    denoiser: sf.Denoiser
    x: Tensor
    truth: Tensor
    divergence: Divergence


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_law(law: Any, n: int, probes: int) -> Case:
    x = law.sample(n, generator=generator(7))
    divergence = Hadamard(probes) if probes < x.shape[1] else Rademacher(probes)
    return Case(sf.ExactDenoiser(law, sf.VP()), x, law.log_prob(x), divergence)


def mixture(d: int) -> sf.GaussianMixture:
    """Five components of unequal weights, each with variances from 0.01 to 1."""
    g = generator(d)
    means = 2 * torch.randn(5, d, dtype=f64, generator=g) / math.sqrt(d) ** 0.5
    return sf.GaussianMixture(torch.tensor([1.0, 2, 3, 4, 5], dtype=f64) / 15, means, _spread(5, d, -2, g))


def _spread(k: int, d: int, low: float, g: torch.Generator) -> Tensor:
    q = torch.linalg.qr(torch.randn(k, d, d, dtype=f64, generator=g))[0]
    return q @ torch.diag(torch.logspace(low, 0, d, dtype=f64)) @ q.mT


def student(d: int, freedom: float = 4.0, nodes: int = 200) -> sf.GaussianMixture:
    """Student's t as what it is, Gaussians of random scale: variance 1 / w, w from Gamma(f / 2, f / 2), by quadrature.

    The law of the cases is the finite mixture itself, so that its log p is exact: within 1e-6 of the density in the
    bulk, and with its tails to the nodes' end.
    """
    u = (torch.arange(nodes, dtype=f64) + 0.5) / nodes
    w = torch.as_tensor(special.gammaincinv(freedom / 2, u.numpy())) * 2 / freedom
    covariances = torch.eye(d, dtype=f64) / w[:, None, None]
    return sf.GaussianMixture(torch.full((nodes,), 1 / nodes, dtype=f64), torch.zeros(nodes, d, dtype=f64), covariances)


def singular(d: int, low: float) -> sf.Gaussian:
    return sf.Gaussian(torch.zeros(d, dtype=f64), _spread(1, d, low, generator(3))[0])


def low_rank(d: int, rank: int, noise: float) -> sf.Gaussian:
    factor = torch.randn(d, rank, dtype=f64, generator=generator(4)) / math.sqrt(rank)
    return sf.Gaussian(torch.zeros(d, dtype=f64), factor @ factor.T + noise * torch.eye(d, dtype=f64))


def far_modes(d: int) -> sf.GaussianMixture:
    means = torch.zeros(2, d, dtype=f64)
    means[0, 0], means[1, 0] = -50.0, 50.0
    return sf.GaussianMixture(torch.tensor([0.3, 0.7], dtype=f64), means, torch.ones(2, d, dtype=f64))


def digits() -> sf.Empirical:
    return sf.Empirical(data.digits().train.flatten(1).to(f64) / 8 - 1, bandwidth=0.1)


class Learned(sf.Denoiser):
    """E[x0 | x_t] of N(0, 0.09 I) and an error such as networks have, 5% at high noise; its process ends at s = 10."""

    schedule, data_std = sf.VE(sigma_min=0.01, sigma_max=10.0), 0.3

    @staticmethod
    def gain(s: Tensor) -> Tensor:
        return 0.09 / (0.09 + s**2) + 0.05 * (s / 3) ** 2 / (1 + (s / 3) ** 2) / (1 + s)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        _, sigma = self.schedule(t)
        return sf.schedules.pad_right(self.gain(sigma), x_t) * x_t


def learned(n: int, probes: int) -> Case:
    """The flow is linear: x at the end is m x, and log p(x) = log N(m x; 0, prior) + d log m."""
    d = 16
    x = 0.3 * torch.randn(n, d, dtype=f64, generator=generator(7))
    s = torch.logspace(-2, 1, 200_001, dtype=f64)
    middle = (s[1:] * s[:-1]).sqrt()
    log_m = float(((1 - Learned.gain(middle)) * (s[1:] / s[:-1]).log()).sum())
    std = float(Learned().prior(1.0).std)
    z = x * math.exp(log_m)
    truth = (-(z**2) / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)).sum(1) + d * log_m
    return Case(Learned(), x, truth, Hadamard(probes))


CASES: dict[str, Callable[[int], Case]] = {
    **{f"mixture, {d}-D": (lambda n, d=d: of_law(mixture(d), n, 8 if d > 8 else 3)) for d in (2, 16, 64, 256)},
    "Student t (4), 8-D": lambda n: of_law(student(8), n, 4),
    "variances 1e-6 .. 1, 8-D": lambda n: of_law(singular(8, -6), n, 4),
    "variances 1e-8 .. 1, 4-D": lambda n: of_law(singular(4, -8), n, 2),
    "rank 3 + 1e-6, 16-D": lambda n: of_law(low_rank(16, 3, 1e-6), n, 8),
    "modes 100 sd apart, 4-D": lambda n: of_law(far_modes(4), n, 2),
    "digits, 64-D": lambda n: of_law(digits(), n, 16),
    "learned, modest end, 16-D": lambda n: learned(n, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[*CASES])
    args = parser.parse_args()
    rows = []
    print("| law | divergence | inside | error / stated | evaluations | exact: inside | error / tolerance | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.only:
        case, begun = CASES[name](args.n), time.perf_counter()
        d = case.x[0].numel()
        row: dict[str, Any] = {"law": name, "divergence": repr(case.divergence)}
        for kind, divergence in (("probes", case.divergence), ("exact", Exact())):
            if kind == "exact" and d > 16:
                continue
            result = sf.log_prob(case.denoiser, case.x, divergence=divergence)
            low, high = result.interval()
            end = 0.0 if isinstance(case.denoiser, Learned) else result.end
            error = (result.log_prob - case.truth).abs()
            row[f"inside, {kind}"] = float(((low - end <= case.truth) & (case.truth <= high + end)).double().mean())
            if kind == "probes":
                row["error / stated"] = float(error.square().mean().sqrt() / result.stderr.square().mean().sqrt())
                row["evaluations"] = float(result.evaluations.double().mean())
            else:
                row["largest error / tolerance"] = float((error - end).max()) / d / 1e-3
        row["seconds"] = time.perf_counter() - begun
        exact = (f"{row['inside, exact']:.1%} | {row['largest error / tolerance']:.2f}") if d <= 16 else "- | -"
        print(
            f"| {name} | {row['divergence']} | {row['inside, probes']:.1%} | {row['error / stated']:.2f} | "
            f"{row['evaluations']:.0f} | {exact} | {row['seconds']:.0f} |",
            flush=True,
        )
        rows.append(row)
    OUT.mkdir(exist_ok=True)
    (OUT / "coverage.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
