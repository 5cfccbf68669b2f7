"""What guidance samples, what it was meant to sample, and what weighted particles do, on densities known exactly.

    OMP_NUM_THREADS=1 python benchmarks/tilted.py

p(x | y)^w p(x)^(1 - w) is normalised by quadrature. 'TV' is the total variation between a histogram of the samples (96
bins of 1/8) and that density; 'floor' is that of as many independent samples of the density. The error of log Z is that
of the log of the mean over the groups.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield import plots
from scorefield.guidance import ProductOfExperts, feynman_kac
from scorefield.plots.style import axes_of_curves

f64 = torch.float64
GRID = torch.linspace(-6, 6, 9601, dtype=f64)
EDGES = torch.linspace(-6, 6, 97, dtype=f64)
GROUPS, PARTICLES, STEPS, NFE = 32, 256, 150, 40
OUT = Path(__file__).parent / "out"


def mixture(weights: list[float], means: list[float], stds: list[float]) -> sf.GaussianMixture:
    w, m, s = (torch.tensor(v, dtype=f64) for v in (weights, means, stds))
    return sf.GaussianMixture(w, m[:, None], s[:, None] ** 2)


FAMILIES = {
    "two Gaussians": (mixture([1.0], [1.0], [0.5]), mixture([1.0], [0.0], [1.0])),
    "equal variances": (mixture([1.0], [1.0], [1.0]), mixture([1.0], [0.0], [1.0])),
    "mixtures": (
        mixture([0.5, 0.5], [-0.4, 1.0], [0.3, 0.2]),
        mixture([0.4, 0.4, 0.2], [-1.2, 0.6, 1.4], [0.5, 0.5, 0.3]),
    ),
}


def target(laws: tuple[sf.GaussianMixture, ...], w: float) -> tuple[Tensor, float]:
    """The density on GRID, and log Z."""
    log_q = w * laws[0].log_prob(GRID[:, None]) + (1 - w) * laws[1].log_prob(GRID[:, None])
    z = torch.trapezoid(log_q.exp(), GRID)
    return log_q.exp() / z, float(z.log())


def distance(x: Tensor, density: Tensor) -> float:
    cdf = torch.cat([torch.zeros(1, dtype=f64), torch.cumulative_trapezoid(density, GRID)])[::100]
    return float((torch.histogram(x, EDGES).hist / len(x) - cdf.diff()).abs().sum() / 2)


def exact_draws(density: Tensor, n: int) -> Tensor:
    cdf = torch.cat([torch.zeros(1, dtype=f64), torch.cumulative_trapezoid(density, GRID)])
    u = torch.rand(n, dtype=f64, generator=torch.Generator().manual_seed(0))
    return GRID[torch.searchsorted(cdf, u).clamp(max=len(GRID) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--figure", type=Path, default=OUT / "guidance-tilted.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, rows, drawn = GROUPS * PARTICLES, [], {}
    head = ("family", "w", "TV guided", "TV particles", "floor", "log Z error", "least ESS")
    print("{:16s} {:>4s} {:>9s} {:>12s} {:>6s} {:>11s} {:>9s}".format(*head))
    for name, laws in FAMILIES.items():
        for w in (0.5, 2.0, 4.0):
            model = ProductOfExperts([sf.ExactDenoiser(law, sf.VP()) for law in laws], [w, 1 - w])
            density, log_z = target(laws, w)
            start = time.process_time()
            guided = sf.sample(model, (n, 1), nfe=NFE, dtype=f64).x[:, 0]
            run = feynman_kac(model, (GROUPS, 1), particles_each=PARTICLES, steps=STEPS, dtype=f64)
            seconds = time.process_time() - start
            particles = run.x.flatten()
            mean_z = float(torch.logsumexp(run.log_normalizer, 0) - math.log(GROUPS))
            row = {
                "family": name,
                "w": w,
                "guided": distance(guided, density),
                "particles": distance(particles, density),
                "floor": distance(exact_draws(density, n), density),
                "log_z_error": mean_z - log_z,
                "least_ess": float(run.effective_size.min()) / PARTICLES,
                "cpu_seconds": seconds,
            }
            rows.append(row)
            drawn[name, w] = (density, guided, particles)
            print(
                f"{name:16s} {w:4.1f} {row['guided']:9.3f} {row['particles']:12.3f} {row['floor']:6.3f}"
                f" {row['log_z_error']:11.3f} {row['least_ess']:9.2f}",
                flush=True,
            )
    OUT.mkdir(exist_ok=True)
    (OUT / "tilted.json").write_text(json.dumps(rows, indent=1))
    fig = plots.figure(10.5, 3.2)
    shown = [("two Gaussians", 4.0), ("mixtures", 2.0), ("mixtures", 4.0)]
    for ax, key in zip(fig.subplots(1, 3), shown, strict=True):
        density, guided, particles = drawn[key]
        for x, color, label in ((guided, "wrong", "guided flow"), (particles, "repaired", "particles")):
            ax.hist(x.numpy(), EDGES.numpy(), density=True, color=plots.COLORS[color], alpha=0.5, label=label)
        ax.plot(GRID, density, color=plots.COLORS["truth"], linewidth=1.6, label="p(x|y)^w p(x)^(1-w)")
        ax.set_xlim(-2.5, 2.5)
        axes_of_curves(ax, x="x", title=f"{key[0]}, w = {key[1]:g}")
    ax.legend(frameon=False, fontsize=8)
    plots.save(fig, options.figure)


if __name__ == "__main__":
    main()
