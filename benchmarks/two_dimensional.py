"""Eight Gaussians learned by the two-dimensional preset: seconds of training, and the distance to the exact law.

    OMP_NUM_THREADS=1 python benchmarks/two_dimensional.py [--seeds 0 1 2] [--set training.steps=1000 ...]

The figure of merit is the sliced Wasserstein distance (p = 2) between n samples of the trained denoiser and n exact
ones, a mean over `PAIRS` such pairs, over its floor: the same mean between exact sets. The second row of a seed has
the exact denoiser in the network's place, the rest being the same: what is above it the network lost.
No network was trained on the sets it is compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import scorefield as sf
from scorefield import data, metrics, recipes, training

OUT = Path(__file__).parent / "out"
NFE, PAIRS = 40, 4


def distance(denoiser: sf.Denoiser, transform: data.Transform | None, exact: Sequence[Tensor], seed: int) -> float:
    """Mean sliced W2, raw units, of as many samples of `denoiser` to each of the sets in `exact`."""
    values = []
    for k, y in enumerate(exact):
        with torch.no_grad():
            x = sf.sample(
                denoiser, (len(y), 2), solver=sf.Heun(), nfe=NFE, seed=seed, first_index=k * len(y), dtype=torch.float32
            ).x
        values.append(metrics.sliced_wasserstein(transform.inverse(x) if transform else x, y))
    return statistics.mean(values)


def line(name: str, row: dict[str, Any]) -> None:
    cells = "{seed} | {wall:.1f} | {cpu:.1f} | {w2:.4f} | {floor:.4f} | {ratio:.2f}".format(**row)
    print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--samples", type=int, default=10_000, help="of each set compared")
    parser.add_argument("--threads", type=int, default=1)
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
        generator = torch.Generator().manual_seed(1000 + seed)
        exact, other = (target.sample(PAIRS * n, generator=generator).float().split(n) for _ in range(2))
        floor = statistics.mean(metrics.sliced_wasserstein(x, y) for x, y in zip(exact, other, strict=True))
        experiment = recipes.build(recipe.model_copy(update={"seed": seed}))
        began = time.perf_counter(), time.process_time()
        assert isinstance(experiment.denoiser, sf.NetworkDenoiser)
        result = training.fit(experiment.denoiser, experiment.source, **experiment.fit)
        spent = {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
        for name, denoiser, transform, cost in (
            (recipe.name, result.denoiser, experiment.transform, spent),
            ("exact", sf.ExactDenoiser(target, experiment.denoiser.schedule), None, dict.fromkeys(spent, 0.0)),
        ):
            w2 = distance(denoiser, transform, exact, seed)
            rows.append({"name": name, "seed": seed, **cost, "w2": w2, "floor": floor, "ratio": w2 / floor})
            line(name, rows[-1])
    for name in (recipe.name, "exact"):
        mine = [row for row in rows if row["name"] == name]
        figures = ("wall", "cpu", "w2", "floor", "ratio")
        line(name, {"seed": "median", **{key: statistics.median(row[key] for row in mine) for key in figures}})
    OUT.mkdir(exist_ok=True)
    (OUT / "two_dimensional.json").write_text(json.dumps({"recipe": recipe.model_dump(mode="json"), "rows": rows}))


if __name__ == "__main__":
    main()
