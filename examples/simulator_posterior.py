"""The posterior of a simulator's parameters, where it is known exactly: two moons.

    theta ~ U[-1, 1]^2,   a ~ U(-pi/2, pi/2),   r ~ N(0.1, 0.01^2),
    y = (r cos a + 1/4 - |theta_1 + theta_2| / sqrt 2,   r sin a + (theta_2 - theta_1) / sqrt 2)

(Greenberg et al. 2019). p(y | theta) is an integral over a and r; but given y, a and r, theta_2 - theta_1 is known, and
theta_1 + theta_2 up to its sign, with a constant Jacobian. So drawing a, r and a sign, and throwing away what lies
outside the square, is drawing from p(theta | y): two thin crescents.

A network that denoises theta and is told y learns the score of p(theta | y) from simulated pairs alone; sampling it is
inference for any y at once, with no further simulation. Held against the exact posterior by sliced Wasserstein distance
beside its floor, and by the calibration checks, which need no exact posterior.

    python examples/simulator_posterior.py --out build/simulator
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import scorefield as sf
from scorefield import metrics, networks, plots, training
from scorefield.data import Arrays


def simulate(theta: Tensor, generator: torch.Generator) -> Tensor:
    """y `(N, 2)` of parameters `(N, 2)`."""
    crescent = _crescent(len(theta), generator)
    total, apart = (theta[:, 0] + theta[:, 1]).abs(), theta[:, 1] - theta[:, 0]
    return crescent + torch.stack([0.25 - total / math.sqrt(2), apart / math.sqrt(2)], 1)


def exact_posterior(y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n draws of theta given one y `(2,)`."""
    kept, found = [], 0
    while found < n:
        rest = y - _crescent(4 * n, generator)
        sign = torch.randint(2, (len(rest),), generator=generator) * 2 - 1
        total, apart = sign * (0.25 - rest[:, 0]) * math.sqrt(2), rest[:, 1] * math.sqrt(2)
        theta = torch.stack([total - apart, total + apart], 1) / 2
        inside = (rest[:, 0] <= 0.25) & (theta.abs() <= 1).all(1)
        kept.append(theta[inside])
        found += int(inside.sum())
    return torch.cat(kept)[:n]


def _crescent(n: int, generator: torch.Generator) -> Tensor:
    angle = math.pi * (torch.rand(n, generator=generator) - 0.5)
    radius = 0.1 + 0.01 * torch.randn(n, generator=generator)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1)


def learn(simulations: int, steps: int, *, seed: int = 0, progress: bool = False) -> sf.NetworkDenoiser:
    """The denoiser of p(theta | y), y its condition `vector`."""
    generator = torch.Generator().manual_seed(seed)
    theta = 2 * torch.rand(simulations, 2, generator=generator) - 1
    source = Arrays(theta, cond={"vector": simulate(theta, generator)})
    torch.manual_seed(seed)
    denoiser = sf.NetworkDenoiser(
        networks.MLP(2, 128, 4, vector_dim=2),
        sf.EDM(sigma_min=0.001, sigma_max=20.0),
        sf.EDMPreconditioning(sigma_data=3**-0.5),
        data_std=3**-0.5,
    )
    times = sf.losses.LogNormal(denoiser.schedule, mean=-2.5, std=1.6)
    options = {"steps": steps, "batch_size": 1024, "lr": 2e-3, "condition_dropout": 0.0, "ema_decay": 0.995}
    return training.fit(denoiser, source, times=times, progress=progress, seed=seed, **options).denoiser


class Report(NamedTuple):
    """How good a learned posterior is."""

    distances: list[float]  # sliced W2 to the exact posterior, one for each y
    floors: list[float]  # between two exact sets of that size
    ranks: metrics.Ranks
    coverage: metrics.Coverage
    tarp: metrics.Ranks
    predictive: Tensor  # empty: the simulator has no density to hold chi2 against


def examine(denoiser: sf.NetworkDenoiser, *, nfe: int = 30, observations: int = 400, seed: int = 1) -> Report:
    """Distances at ten y, and calibration over `observations` simulated ones, 39 samples each."""
    generator = torch.Generator().manual_seed(seed)
    truth = 2 * torch.rand(observations, 2, generator=generator) - 1
    y = simulate(truth, generator)
    distances, floors = [], []
    for k, one in enumerate(y[:10]):
        exact, cond = exact_posterior(one, 4000, generator), {"vector": one.expand(2000, 2)}
        made = sf.sample(denoiser, (2000, 2), nfe=nfe, seed=seed, first_index=2000 * k, cond=cond).x
        distances.append(metrics.sliced_wasserstein(made, exact[:2000]))
        floors.append(metrics.sliced_wasserstein_floor(exact).mean)
    rows = y.repeat_interleave(39, 0)
    samples = sf.sample(denoiser, (len(rows), 2), nfe=nfe, seed=seed, cond={"vector": rows}).x
    samples = samples.reshape(observations, 39, 2)
    return Report(
        distances,
        floors,
        metrics.sbc(truth, samples),
        metrics.coverage(truth, samples),
        metrics.tarp(truth, samples, y),
        torch.empty(0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path("build/simulator"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    denoiser = learn(options.simulations, options.steps, progress=True)
    report = examine(denoiser)
    for name, values in (("sliced W2 to the exact posterior", report.distances), ("its floor", report.floors)):
        print(f"{name:34s} median {sorted(values)[5]:.4f}, largest {max(values):.4f}")
    print(f"SBC p = {report.ranks.p_value:.2g}, TARP p = {report.tarp.p_value:.2g}")
    low, high = report.coverage.interval()
    for level, rate, *ends in zip(report.coverage.levels, report.coverage.rates, low, high, strict=True):
        print(f"coverage of {level:.0%} intervals: {rate:.3f}  [{ends[0]:.3f}, {ends[1]:.3f}]")
    plots.save(plots.calibration(report, title="two moons"), options.out / "calibration.png")
    y = torch.zeros(1, 2)
    made = sf.sample(denoiser, (2000, 2), nfe=30, cond={"vector": y.expand(2000, 2)}).x
    exact = exact_posterior(y[0], 2000, torch.Generator().manual_seed(0))
    fig = plots.figure(7, 3.4)
    for ax, points, name in zip(fig.subplots(1, 2), (exact, made), ("exact", "learned"), strict=True):
        ax.plot(*points.T, ".", markersize=1.5, color=plots.COLORS["first"])
        ax.set(title=f"p(theta | y = 0), {name}", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    plots.save(fig, options.out / "posterior.png")


if __name__ == "__main__":
    main()
