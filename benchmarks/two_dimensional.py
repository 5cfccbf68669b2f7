"""Eight Gaussians learned by the two-dimensional preset: seconds of training, and the distance to the exact law.

    python benchmarks/two_dimensional.py [--seeds 0 1 2] [--set training.steps=1000 ...]

The figure of merit is the sliced Wasserstein distance (p = 2) between n samples of the trained denoiser and n exact
ones, over its floor: the same distance between two exact sets of n. A first row replaces the network by the exact
denoiser, with the same solver and starts: what is left for the network to lose. The exact sets of the distance are
none that the network was trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield import metrics, recipes, training

OUT = Path(__file__).parent / "out"
NFE = 40


def drawn(denoiser: sf.Denoiser, n: int, seed: int) -> Tensor:
    with torch.no_grad():
        return sf.sample(denoiser, (n, 2), solver=sf.Heun(), nfe=NFE, seed=seed, dtype=torch.float32).x


def line(name: str, row: dict[str, float]) -> None:
    cells = ("{seed} | {wall:.1f} | {cpu:.1f} | {w2:.4f} | {floor:.4f} | {ratio:.2f}").format(**row)
    print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--samples", type=int, default=10_000, help="of each set compared")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", dest="keys", action="append", default=[], help="a key of the recipe, key=value")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    n, rows = args.samples, []
    recipe = recipes.override(recipes.presets.two_moons("eight-gaussians"), args.keys)
    target = sf.distributions.eight_gaussians()
    print(f"{args.threads} threads, load average {os.getloadavg()[0]:.1f}, {n} samples, {NFE} evaluations each")
    print(
        "| denoiser | seed | wall s | CPU s | sliced W2 | floor | ratio |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for seed in args.seeds:
        exact = target.sample(4 * n, generator=torch.Generator().manual_seed(1000 + seed)).float()
        floor = metrics.sliced_wasserstein_floor(exact, (n, n)).mean
        experiment = recipes.build(recipe.model_copy(update={"seed": seed}))
        began = time.perf_counter(), time.process_time()
        result = training.fit(experiment.denoiser, experiment.source, **experiment.fit)
        spent = {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
        raw = (
            (lambda x, transform=experiment.transform: transform.inverse(x)) if experiment.transform else (lambda x: x)
        )
        for name, x, cost in (
            (recipe.name, raw(drawn(result.denoiser, n, seed)), spent),
            ("exact", drawn(sf.ExactDenoiser(target, sf.EDM(sigma_max=20.0)), n, seed), {"wall": 0.0, "cpu": 0.0}),
        ):
            w2 = metrics.sliced_wasserstein(x, exact[:n])
            rows.append({"name": name, "seed": seed, **cost, "w2": w2, "floor": floor, "ratio": w2 / floor})
            line(name, rows[-1])
    for name in (recipe.name, "exact"):
        mine = [row for row in rows if row["name"] == name]
        line(
            name,
            {
                "seed": "median",
                **{k: statistics.median(row[k] for row in mine) for k in mine[0] if k not in ("name", "seed")},
            },
        )
    OUT.mkdir(exist_ok=True)
    (OUT / "two_dimensional.json").write_text(json.dumps({"recipe": recipe.model_dump(mode="json"), "rows": rows}))


if __name__ == "__main__":
    main()
