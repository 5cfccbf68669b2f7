"""What each objective pays for its gradient: variance and time, against the dimension and the noise.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py        about 95 CPU-seconds on one core
    OMP_NUM_THREADS=1 python benchmarks/objectives.py --wide      cost alone, above 1,000 dimensions

One MLP, after 200 steps of denoising, on a mixture of eight Gaussians in R^d of unit variance, at one noise ratio
s = sigma / alpha and weight 1 on ||D - x0||^2. All objectives estimate one gradient g*, that of `explicit`, here from
16,384 samples. For each,

    variance = B E||g_B - g*||^2 / ||g*||^2, with batches of B = 64: how many samples make the gradient's error as large
               as the gradient,
    cost     = CPU time of loss and backward over denoising's, interleaved, median of the pairwise ratios,

and variance x cost over denoising's is how much longer it takes to an equally good gradient.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import scorefield as sf
from scorefield import losses
from scorefield.losses import projections
from scorefield.plots.curves import curves_colors
from scorefield.plots.style import axes_of_curves, figure, save

WIDE = (1024, 3072)  # 3,072: a colour picture of 32 x 32
DIMENSIONS, NOISES, BATCH = (2, 8, 32, 128, 512), (0.05, 0.2, 0.5, 1.0, 2.0, 5.0), 64
USUAL = (32, 0.5)  # where one of the two is varied the other stands here
OUT = Path(__file__).parent / "out"
Loss = Callable[..., Tensor]


def objectives(exact: sf.Denoiser) -> dict[str, Loss]:
    sliced = losses.sliced
    return {
        "denoising": losses.denoising,
        "explicit (score known)": partial(losses.explicit, exact=exact),
        "implicit (exact trace)": losses.implicit,
        "sliced, Gaussian": partial(sliced, variance_reduced=False, projection=projections.gaussian),
        "sliced, Rademacher": partial(sliced, variance_reduced=False),
        "sliced VR, Gaussian": partial(sliced, projection=projections.gaussian),
        "sliced VR, Rademacher": sliced,
        "sliced VR, Rademacher, 8 directions": partial(sliced, projections=8),
        "finite difference, Rademacher": losses.finite_difference,
    }


def problem(d: int, ratio: float) -> tuple[sf.GaussianMixture, sf.NetworkDenoiser, Tensor]:
    """The data, of unit variance in all; a network after 200 steps of denoising; the time."""
    generator = torch.Generator().manual_seed(d)
    means = 0.8 * torch.randn(8, d, generator=generator)
    data = sf.GaussianMixture(torch.full((8,), 1 / 8), means, torch.full((8, d), 0.36))
    schedule = sf.VP()
    t = schedule.time_of_log_snr(-torch.log(torch.tensor(ratio, dtype=torch.float64)))
    torch.manual_seed(0)
    net = sf.networks.MLP(d, hidden=128, depth=2)
    nn.init.normal_(net.exit[-1].weight, std=0.1)  # pyright: ignore[reportArgumentType]
    denoiser = sf.NetworkDenoiser(net, schedule, sf.EDMPreconditioning(1.0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        losses.denoising(denoiser, data.sample(128, generator=generator), t=t, generator=generator).mean().backward()
        optimizer.step()
    return data, denoiser, t


def gradient(loss: Loss, denoiser: sf.Denoiser, x0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    value = loss(denoiser, x0, t=t, generator=generator, weight=losses.weights.x0).mean()
    gradients = torch.autograd.grad(value, list(denoiser.parameters()))
    return torch.cat([g.flatten() for g in gradients])


def variance(loss: Loss, denoiser: sf.Denoiser, data: sf.Distribution, t: Tensor, best: Tensor, batches: int) -> float:
    generator, total = torch.Generator().manual_seed(7), 0.0
    for _ in range(batches):
        g = gradient(loss, denoiser, data.sample(BATCH, generator=generator), t, generator)
        total += float((g - best).double().square().sum())
    return BATCH * total / batches / float(best.double().square().sum())


def cost(loss: Loss, denoiser: sf.Denoiser, data: sf.Distribution, t: Tensor, rounds: int) -> float:
    generator = torch.Generator().manual_seed(8)
    x0 = data.sample(BATCH, generator=generator)

    def seconds(fn: Loss, repeats: int) -> float:
        start = time.process_time()
        for _ in range(repeats):
            gradient(fn, denoiser, x0, t, generator)
        return (time.process_time() - start) / repeats

    seconds(loss, 1)
    return statistics.median(seconds(loss, 1) / seconds(losses.denoising, 5) for _ in range(rounds))


def measure(d: int, ratio: float) -> list[dict[str, float | str]]:
    data, denoiser, t = problem(d, ratio)
    exact = sf.ExactDenoiser(data, denoiser.schedule)
    generator, explicit = torch.Generator().manual_seed(6), partial(losses.explicit, exact=exact)
    parts = [gradient(explicit, denoiser, data.sample(1024, generator=generator), t, generator) for _ in range(16)]
    best, rows = torch.stack(parts).mean(0), []
    for name, loss in objectives(exact).items():
        slow = loss is losses.implicit and d > 100
        noise = variance(loss, denoiser, data, t, best, 10 if slow else 60)
        price = 1.0 if name == "denoising" else cost(loss, denoiser, data, t, 3 if slow else 11)
        rows.append({"objective": name, "d": d, "noise": ratio, "variance": noise, "cost": price})
        print(f"d = {d:3d}  s = {ratio:4g}  {name:36s} variance {noise:10.3g}  cost {price:7.2f}", flush=True)
    return rows


def wide() -> None:
    """CPU time of loss and backward, in ms and over denoising's, where the exact trace takes a product a dimension."""
    print(f"| objective | {' | '.join(map(str, WIDE))} |\n| --- |{' ---: |' * len(WIDE)}")
    problems = [problem(d, USUAL[1]) for d in WIDE]
    for name, loss in objectives(sf.ExactDenoiser(problems[0][0], sf.VP())).items():
        if loss is losses.denoising or loss is losses.implicit or "VR, Rademacher" in name:
            ratios = [cost(loss, denoiser, data, t, 3) for data, denoiser, t in problems]
            print(f"| {name} | {' | '.join(f'{r:.3g}' for r in ratios)} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:] == ["--wide"]:
        return wide()
    by_dimension = [row for d in DIMENSIONS for row in measure(d, USUAL[1])]
    by_noise = [row for s in NOISES for row in measure(USUAL[0], s)]
    table(by_dimension, "d", DIMENSIONS, lambda r: f"{r['variance']:.3g} ({r['cost']:.3g})")
    table(by_noise, "noise", NOISES, lambda r: f"{r['variance']:.3g}")
    OUT.mkdir(exist_ok=True)
    (OUT / "objectives.json").write_text(json.dumps(by_dimension + by_noise, indent=1))
    plot(by_dimension, by_noise)


def table(rows: list[dict[str, float | str]], key: str, values: Sequence[float], cell: Callable[..., str]) -> None:
    print(f"\n| {key} | " + " | ".join(f"{v:g}" for v in values) + " |")
    print("| --- |" + " --- |" * len(values))
    for name in dict.fromkeys(row["objective"] for row in rows):
        print(f"| {name} | " + " | ".join(cell(row) for row in rows if row["objective"] == name) + " |")


def plot(by_dimension: list[dict[str, float | str]], by_noise: list[dict[str, float | str]]) -> None:
    fig = figure(14, 4.4)
    panels = (
        (by_dimension, "d", "variance", "dimension", f"samples for a 100% error, s = {USUAL[1]}"),
        (by_noise, "noise", "variance", "noise ratio s", f"samples for a 100% error, d = {USUAL[0]}"),
        (by_dimension, "d", "cost", "dimension", "CPU time over denoising's"),
    )
    names = list(dict.fromkeys(str(row["objective"]) for row in by_dimension))
    for ax, (rows, x, y, x_label, y_label) in zip(fig.subplots(1, 3), panels, strict=True):
        for name, color in zip(names, curves_colors(len(names)), strict=True):
            own = [row for row in rows if row["objective"] == name]
            ax.plot([r[x] for r in own], [r[y] for r in own], "o-", color=color, label=name, markersize=4)
        ax.set_xscale("log")
        ax.set_yscale("log")
        axes_of_curves(ax, x=x_label, y=y_label)
        if y == "cost":
            ax.legend(frameon=False, fontsize=8)
    save(fig, OUT / "objectives.png")


if __name__ == "__main__":
    main()
