"""Posterior samplers on problems whose posterior is known: how far their samples are from exact ones.

    OMP_NUM_THREADS=1 python benchmarks/inverse.py [--problems gaussian mixture sr ct inpaint] [--nfe 20 50 100]
                                                   [--seeds 101 102] [--methods Bridge ...] [--n 512]

    gaussian   16-D, a random covariance, 8 coordinates observed
    mixture    16-D, 8 components of rank 4 + diagonal, 4 random projections: several modes remain
    sr         8 x 8 digits smoothed with h = 0.1, means of 4 x 4 pixels
    ct         the same, line integrals along 2 views of 11 bins
    inpaint    the same, one pixel in four

Every prior is exact, on VP. An instance is a seed, which draws prior, operator, datum and noise; the settings of our
methods were chosen on seeds below 100. For each: sliced W2 of n samples to 2,048 exact ones over the posterior's rms
(the root of its mean variance), the total variation of the mode weights (of digits: of the nearest kernel's class), the
exact posterior's mass in the 90% intervals, and chi^2 over the numbers measured; means over the instances, beside the
same for n exact samples: the Monte Carlo floor. A particle method's path takes as many evaluations as the others'; its
n samples come from n paths. azula's methods run where it is installed, each with its own sampler and VP schedule.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib as mpl
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import scorefield as sf
from _families import OUT, SMOOTHING
from scorefield import inverse
from scorefield.inverse.operators import Dense
from scorefield.metrics import sliced_wasserstein

f64 = torch.float64
EXACT = 2048
OURS: dict[str, inverse.Method] = {
    "Bridge": inverse.Bridge(),
    "Bridge, 256 particles": inverse.Bridge(particles=256),
    "Bridge, isotropic": inverse.Bridge(covariance=inverse.IsotropicCovariance()),
    "TwistedSMC": inverse.TwistedSMC(),
    "MomentMatching": inverse.Guidance(inverse.MomentMatching),
    "PiGDM": inverse.Guidance(inverse.PiGDM),
    "DiffPIR": inverse.Guidance(inverse.DiffPIR, solver=sf.DDPM()),
    "DDNM": inverse.Guidance(inverse.DDNM, solver=sf.DDPM()),
    "DDRM": inverse.DDRM(),
    "DAPS": inverse.DAPS(),
    "DPS": inverse.DPS(),
    "RED-diff": inverse.REDDiff(),
}


@dataclass(frozen=True, eq=False)
class Problem:
    name: str
    law: Any
    given: inverse.GaussianNoise
    truth: sf.GaussianMixture | sf.Gaussian  # the posterior
    modes: Callable[[Tensor], Tensor] | None  # shares of the modes among samples
    shares: Tensor | None

    def judge(self, x: Tensor, exact: Tensor) -> dict[str, float]:
        x = torch.nan_to_num(x.double().flatten(1), 1e3, 1e3, -1e3).clamp(-1e3, 1e3)
        rms = float(self.truth.variance.double().mean().sqrt())
        low, high = inverse.PosteriorSamples(x[None], 1, 1.0, 0, 1).interval(0.9)
        rows = self.given.rows(torch.zeros(len(x), dtype=torch.int64))
        found = {
            "sw": sliced_wasserstein(x, exact, projections=128) / rms,
            "coverage": float(((exact >= low) & (exact <= high)).double().mean()),
            "chi2": float(rows.chi2(x).mean()) / self.given.y.shape[1],
        }
        if self.modes is not None and self.shares is not None:
            found["tv"] = float((self.modes(x) - self.shares).abs().sum() / 2)
        return found


def problem(name: str, seed: int) -> Problem:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=f64, generator=g)

    if name == "gaussian":
        root = normal(16, 16)
        law: Any = sf.Gaussian(normal(16), root @ root.T / 16 + 0.05 * torch.eye(16, dtype=f64))
        matrix, noise = torch.eye(16, dtype=f64)[torch.randperm(16, generator=g)[:8]], 0.1
    elif name == "mixture":
        weights = torch.rand(8, dtype=f64, generator=g) + 0.3
        factors = 0.3 * normal(8, 16, 4)
        covariances = factors @ factors.mT + 0.03 * torch.eye(16, dtype=f64)
        law = sf.GaussianMixture(weights / weights.sum(), normal(8, 16), covariances)
        matrix, noise = normal(4, 16) / 4, 0.5
    else:
        law = sf.Empirical(torch.from_numpy(load_digits(return_X_y=True)[0]) / 16, SMOOTHING)
        matrix = {"sr": means, "ct": strips, "inpaint": pixels}[name](g)
        noise = {"sr": 0.05, "ct": 0.5, "inpaint": 0.2}[name]
    x0 = law.sample(1, generator=g).double()
    y = x0 @ matrix.T + noise * normal(1, len(matrix))
    truth = law.posterior(matrix, y[0], noise)
    modes, shares = None, None
    if isinstance(law, sf.GaussianMixture):
        modes, shares = lambda x: truth.responsibilities(x).mean(0), truth.weights
    elif isinstance(law, sf.Empirical):
        label = torch.from_numpy(load_digits(return_X_y=True)[1])
        shares = torch.zeros(10, dtype=f64).index_add_(0, label, truth.weights.double())
        modes = lambda x: (  # noqa: E731
            torch.bincount(label[truth.responsibilities(x).argmax(1)], minlength=10).double() / len(x)
        )
    return Problem(name, law, inverse.GaussianNoise(Dense(matrix), y, noise), truth, modes, shares)


def means(g: torch.Generator) -> Tensor:
    """`(4, 64)`: of blocks of 4 x 4 pixels."""
    block = torch.kron(torch.eye(2, dtype=f64), torch.ones(1, 4, dtype=f64)) / 4
    return torch.kron(block, block)


def pixels(g: torch.Generator) -> Tensor:
    """`(16, 64)`: one in four."""
    return torch.eye(64, dtype=f64)[torch.randperm(64, generator=g)[:16]]


def strips(g: torch.Generator, views: int = 2, bins: int = 11, finer: int = 16) -> Tensor:
    """`(22, 64)`: areas of pixels within strips of width 1, at two right angles turned by a random one."""
    turn = float(torch.rand((), generator=g)) * math.pi / 2
    c = (torch.arange(8 * finer, dtype=f64) + 0.5) / finer - 4
    row, column = torch.meshgrid(c, c, indexing="ij")
    inside = torch.arange(8 * finer) // finer
    pixel = (inside[:, None] * 8 + inside).flatten()
    views_ = []
    for k in range(views):
        angle = turn + math.pi * k / views
        at = (column * math.cos(angle) + row * math.sin(angle)).flatten() + bins / 2
        areas = torch.zeros(bins, 64, dtype=f64)
        index = (at.floor().clamp(0, bins - 1).long(), pixel)
        areas.index_put_(index, torch.full((len(pixel),), 1 / finer**2, dtype=f64), accumulate=True)
        views_.append(areas)
    return torch.cat(views_)


def azula_methods(case: Problem) -> dict[str, Callable[[int, int], Tensor]]:
    """Name -> (n, nfe) -> samples; empty where azula is not installed."""
    try:
        from azula.denoise import Denoiser, DiracPosterior  # pyright: ignore[reportMissingImports]
        from azula.guidance import DiffPIRDenoiser, DPSSampler, MMPSDenoiser, PGDMSampler, TDSSampler  # pyright: ignore[reportMissingImports]
        from azula.linalg.covariance import IsotropicCovariance  # pyright: ignore[reportMissingImports]
        from azula.noise import VPSchedule  # pyright: ignore[reportMissingImports]
        from azula.sample import DDIMSampler, DDPMSampler  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}

    class Exact(Denoiser):
        schedule = VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
            alpha, sigma = self.schedule(t)
            return DiracPosterior(mean=case.law.denoise(x_t, alpha, sigma))

    a, std, y = case.given.operator.matrix, case.given.noise_std, case.given.y  # type: ignore[attr-defined]
    forward, back = (lambda x: x @ a.T.to(x)), (lambda v: v @ torch.linalg.pinv(a).T.to(v))
    exact, noise = Exact(), torch.tensor(float(std) ** 2, dtype=f64)

    def twist(x: Tensor, ratio: Tensor) -> Tensor:
        variance = noise + ratio**2 / (1 + ratio**2)
        return (-(y - forward(x)).square() / (2 * variance) - variance.log() / 2).sum(-1)

    def mmps(kind: Any, **options: Any) -> Callable[[int], Any]:
        guided = MMPSDenoiser(exact, y, forward, IsotropicCovariance(noise), solver="gmres", iterations=4)
        return lambda steps: kind(guided, steps=steps, silent=True, dtype=f64, **options)

    samplers: dict[str, Callable[[int], Any]] = {
        "azula MMPS, DDIM": mmps(DDIMSampler),
        "azula MMPS, DDPM": mmps(DDPMSampler),
        "azula PGDM": lambda k: PGDMSampler(exact, y, forward, back, eta=1.0, steps=k, silent=True, dtype=f64),
        "azula DiffPIR": lambda k: DDIMSampler(
            DiffPIRDenoiser(exact, y, forward, noise, lmbda=1.0, iterations=4), steps=k, silent=True, dtype=f64
        ),
        "azula TDS": lambda k: TDSSampler(exact, twist, steps=k, silent=True, dtype=f64),
    } | {
        f"azula DPS, zeta {zeta}": lambda k, zeta=zeta: DPSSampler(
            exact, y, forward, zeta=zeta, steps=k, silent=True, dtype=f64
        )
        for zeta in (0.3, 1.0)
    }

    def run(make: Callable[[int], Any], n: int, nfe: int) -> Tensor:
        torch.manual_seed(nfe)
        sampler = make(nfe)
        if isinstance(sampler, DPSSampler):  # its norm is over the whole batch: one sample at a time is what it means
            return torch.cat([sampler(sampler.init((1, a.shape[1]), dtype=f64)) for _ in range(min(n, 64))])
        return sampler(sampler.init((n, a.shape[1]), dtype=f64))

    return {name: lambda n, nfe, make=make: run(make, n, nfe) for name, make in samplers.items()}


def compare(name: str, seeds: list[int], budgets: list[int], n: int, asked: list[str] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        case = problem(name, seed)
        g = torch.Generator().manual_seed(10_000 + seed)
        exact, again = (case.truth.sample(k, generator=g).double() for k in (EXACT, n))
        rows.append({"method": "exact samples", "nfe": 0, "seed": seed, "seconds": 0.0} | case.judge(again, exact))
        dtype = torch.float32 if isinstance(case.law, sf.Empirical) else f64
        denoiser = sf.ExactDenoiser(case.law, sf.VP())

        def ours(method: inverse.Method, n: int, nfe: int, case=case, denoiser=denoiser, dtype=dtype) -> Tensor:
            return inverse.condition(denoiser, case.given, method).sample(n, nfe=nfe, seed=1, dtype=dtype).x[0]

        methods = {k: lambda n, nfe, m=m: ours(m, n, nfe) for k, m in OURS.items()} | azula_methods(case)
        for method, draw in methods.items():
            if asked and method not in asked:
                continue
            for nfe in budgets:
                began = time.process_time()
                x = draw(n, nfe)
                row = {"method": method, "nfe": nfe, "seed": seed, "seconds": time.process_time() - began}
                rows.append(row | case.judge(x, exact))
    print(f"\n{name}: sliced W2 / rms, mode TV, mass in the 90% intervals, chi^2 / M ({len(seeds)} instances, n = {n})")
    summary = []
    for method in dict.fromkeys(r["method"] for r in rows):
        for nfe in dict.fromkeys(r["nfe"] for r in rows if r["method"] == method):
            same = [r for r in rows if r["method"] == method and r["nfe"] == nfe]
            keys = [k for k in ("sw", "tv", "coverage", "chi2", "seconds") if k in same[0]]
            mean = {k: fmean(r[k] for r in same) for k in keys}
            summary.append({"problem": name, "method": method, "nfe": nfe} | mean)
            cells = " ".join(f"{mean[k]:9.3f}" if k in mean else " " * 9 for k in ("sw", "tv", "coverage", "chi2"))
            print(f"{method:24s} {nfe:5d} {cells}   {mean['seconds']:.1f} s", flush=True)
    return summary


def plot(rows: list[dict[str, Any]]) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r["problem"] for r in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(3.4 * len(names), 3.4), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        own = [r for r in rows if r["problem"] == name]
        for method in dict.fromkeys(r["method"] for r in own if r["nfe"]):
            line = [(r["nfe"], r["sw"]) for r in own if r["method"] == method]
            axis.plot(*zip(*line, strict=True), "o--" if method.startswith("azula") else "o-", label=method, ms=3)
        axis.axhline(next(r["sw"] for r in own if not r["nfe"]), color="k", lw=0.8)
        axis.set(title=name, xscale="log", yscale="log", xlabel="network evaluations of a path")
    axes[0, 0].set_ylabel("sliced W2 / posterior rms (line: floor)")
    axes[0, -1].legend(fontsize=5)
    figure.savefig(OUT / "inverse.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    problems = ("gaussian", "mixture", "sr", "ct", "inpaint")
    parser.add_argument("--problems", nargs="+", choices=problems, default=list(problems))
    parser.add_argument("--nfe", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--n", type=int, default=512)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [r for name in asked.problems for r in compare(name, asked.seeds, asked.nfe, asked.n, asked.methods)]
    OUT.mkdir(exist_ok=True)
    (OUT / "inverse.json").write_text(json.dumps(rows, indent=1))
    plot(rows)


if __name__ == "__main__":
    main()
