"""How a network is best told the noise level: three embeddings x three mechanisms on one problem with an exact answer.

    OMP_NUM_THREADS=1 python benchmarks/conditioning.py            (about two and a half CPU-minutes)

Eight Gaussians in the plane, the same MLP (three blocks of 64), steps, data and noise for each. The figure of merit is
the excess loss over the least possible at a noise level s = sigma / alpha,

    E ||D_theta(x_t, t) - D(x_t, t)||^2 / E tr Cov[x0 | x_t],

with D and the least loss exact (ExactDenoiser), over 4,096 samples that no network has seen. Each entry is the
geometric mean over seeds; the last column that of the row, with the range over seeds.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from pathlib import Path

import torch

import scorefield as sf
from scorefield import losses, networks, plots, training
from scorefield.distributions import toy
from scorefield.plots.style import axes_of_curves

EMBEDDINGS, MECHANISMS = ("sinusoidal", "fourier", "learned"), ("film", "add", "concat")
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SCHEDULE = sf.EDM(sigma_max=40.0)
OUT = Path(__file__).parent / "out"


def trained(embedding: str, mechanism: str, data: torch.Tensor, steps: int, seed: int) -> tuple[sf.Denoiser, float]:
    """The denoiser, and the processor seconds it took."""
    torch.manual_seed(seed)
    net = networks.MLP(2, hidden=64, depth=3, level_embedding=embedding, conditioning=mechanism)
    times = losses.Stratified(losses.LogNormal(SCHEDULE, mean=-1.2, std=1.6))
    start = time.process_time()
    result = training.fit(
        sf.NetworkDenoiser(net, SCHEDULE, sf.EDMPreconditioning(sigma_data=1.0)),
        data,
        steps=steps,
        batch_size=256,
        lr=4e-3,
        ema_decay=0.995,
        loss=functools.partial(losses.denoising, times=times),
        seed=seed,
    )
    return result.denoiser, time.process_time() - start


def excess(denoiser: sf.Denoiser, exact: sf.ExactDenoiser, x0: torch.Tensor) -> list[float]:
    """The excess loss over the least, at each of `LEVELS`."""
    values = []
    for i, s in enumerate(LEVELS):
        t = SCHEDULE.time_of_log_snr(torch.tensor(-math.log(s), dtype=torch.float64))
        generator = torch.Generator().manual_seed(i)
        x_t = SCHEDULE.perturb(x0, t, torch.randn(x0.shape, generator=generator))
        with torch.no_grad():
            best = exact(x_t, t)
            gap = (denoiser(x_t, t) - best).square().sum(1).mean()
            values.append(float(gap / (best - x0).square().sum(1).mean()))
    return values


def geometric(values: list[float]) -> float:
    return statistics.geometric_mean(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    target = toy.eight_gaussians()
    generator = torch.Generator().manual_seed(1)
    data, unseen = target.sample(50_000, generator=generator), target.sample(4096, generator=generator)
    exact = sf.ExactDenoiser(target, SCHEDULE)
    rows = []
    print(f"excess loss in %, {args.steps} steps, {args.seeds} seeds; CPU seconds a run")
    print(f"{'':20s}" + "".join(f"{'s = ' + format(s, 'g'):>10s}" for s in LEVELS) + "   all (range over seeds)   sec")
    for embedding in EMBEDDINGS:
        for mechanism in MECHANISMS:
            runs, seconds = [], []
            for seed in range(args.seeds):
                denoiser, spent = trained(embedding, mechanism, data, args.steps, seed)
                runs.append(excess(denoiser, exact, unseen))
                seconds.append(spent)
            each = [geometric(list(column)) for column in zip(*runs, strict=True)]
            overall = [geometric(run) for run in runs]
            row = {"embedding": embedding, "mechanism": mechanism, "excess": each, "runs": runs, "seconds": seconds}
            rows.append({**row, "all": geometric(overall)})
            cells = "".join(f"{100 * value:10.2f}" for value in each)
            spread = f"{100 * geometric(overall):8.2f} ({100 * min(overall):.2f}-{100 * max(overall):.2f})"
            print(f"{embedding:11s}{mechanism:9s}{cells}{spread:>25s}{statistics.median(seconds):6.1f}", flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "conditioning.json").write_text(
        json.dumps({"steps": args.steps, "seeds": args.seeds, "levels": LEVELS, "rows": rows}, indent=1)
    )
    draw(rows)


def draw(rows: list[dict]) -> None:
    """One panel for each mechanism, one line for each embedding, all on one scale."""
    fig = plots.figure(10, 3.4)
    axes = fig.subplots(1, len(MECHANISMS), sharey=True)
    for ax, mechanism in zip(axes, MECHANISMS, strict=True):
        lines = {row["embedding"]: row["excess"] for row in rows if row["mechanism"] == mechanism}
        for (name, values), color in zip(lines.items(), plots.curves_colors(len(lines)), strict=True):
            ax.loglog(LEVELS, [100 * value for value in values], "o-", label=name, color=color, markersize=3.5)
        axes_of_curves(ax, x="noise over signal, sigma / alpha", title=mechanism)
    axes[0].set_ylabel("excess over the least loss, %")
    axes[-1].legend(frameon=False, fontsize=9)
    plots.save(fig, OUT / "conditioning.png")


if __name__ == "__main__":
    main()
