"""Bits per dimension of MNIST's test images for three processes, each with and without likelihood weighting.

    OMP_NUM_THREADS=1 python benchmarks/bits_per_dim.py --data-dir DATA [--steps 400] [--n 256] [--probes 1] [--run RUN]

Six small unconditional networks are trained on the same number of images, the same but for the process and for where
the loss looks (Song et al. 2021b, table 2):

    eps          ||eps_hat - eps||^2, t uniform: score_sde's loss
    likelihood   the weight g^2 on the score's error, t drawn from the law g^2 / sigma^2, which together are
                 ||eps_hat - eps||^2 at a log-SNR that is uniform: a bound on -log p

All are scored on the same test images, dequantisation noise and probes, so that differences between rows are far
better known than the rows: the last column is the mean over images of (this row - the process's eps row), with its own
standard error. Trained folders are kept, and used again; `--run` adds a row for another run folder.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import scorefield as sf
from scorefield import runs
from scorefield.likelihood import BitsPerDim, bits_per_dim, dequantized, elbo
from scorefield.recipes import Recipe, override, presets

OUT = Path(__file__).parent / "out"
S_MIN = 1e-3  # the least noise ratio that the likelihood's weighting looks at
PROCESSES: Mapping[str, sf.Schedule] = {"VP": sf.VP(), "SubVP": sf.SubVP(), "VE": sf.VE(0.01, 50.0)}
CHUNK = 64


def recipe(process: str, weighting: str, steps: int, width: int) -> Recipe:
    """The mnist preset, narrower, without labels, on that process and loss."""
    t_min = float(PROCESSES[process].time_of_log_snr(-math.log(S_MIN)))
    law = {"eps": '{type="Uniform"}', "likelihood": f'{{type="Importance", t_min={t_min!r}}}'}[weighting]
    changed = [
        f'name="mnist-{process}-{weighting}"',
        f'schedule="{process}"',
        f"objective.times={law}",
        'objective.weight="eps"',
        "data.dequantize=true",
        "data.conditional=false",
        f"network.width={width}",
        f"training.steps={steps}",
        "training.bf16=false",
        "optim.warmup=50",
        f"logging.checkpoint_every={steps}",
        f"logging.sample_every={steps}",
    ]
    return override(presets.mnist(), changed)


def trained(folder: Path, wanted: Recipe, data_dir: Path | None) -> Path:
    """`folder` with that recipe's run in it."""
    if not (folder / "training.png").exists():
        runs.train(folder, wanted, device="cpu", data_dir=data_dir, progress=True)
    return folder


def scored(
    run: Path, chosen: Tensor, probes: int, tolerance: float, data_dir: Path | None
) -> tuple[BitsPerDim, Tensor]:
    """(bits per dimension, bits per dimension of the ELBO) of those test images."""
    loaded = sf.load(run)
    source, _ = loaded.held_out(data_dir=data_dir)
    assert loaded.transform is not None
    parts, bounds = [], []
    for first in range(0, len(chosen), CHUNK):
        x, cond = source.batch(chosen[first : first + CHUNK])
        options: dict[str, Any] = {"first_index": first, "cond": cond}
        parts.append(bits_per_dim(loaded.denoiser, x, loaded.transform, probes=probes, tolerance=tolerance, **options))
        y = dequantized(x, 0, torch.arange(first, first + len(x)))
        bounds.append(-elbo(loaded.denoiser, y, transform=loaded.transform, draws=16, **options).elbo)
    joined: list[Any] = [None if values[0] is None else torch.cat(values) for values in zip(*parts, strict=True)]
    return BitsPerDim(*joined), torch.cat(bounds) / (x[0].numel() * math.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="where mnist lies")
    parser.add_argument("--runs", type=Path, default=OUT / "bits_per_dim", help="where the trained folders are kept")
    parser.add_argument("--run", type=Path, action="append", default=[], help="another run folder to score")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--n", type=int, default=256, help="test images; 0 only trains")
    parser.add_argument("--probes", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=1e-3, help="nats for each dimension")
    args = parser.parse_args()
    folders: dict[tuple[str, str], Path] = {}
    for weighting in ("eps", "likelihood"):
        for process in PROCESSES:
            folder = args.runs / f"{process}-{weighting}"
            folders[process, weighting] = trained(
                folder, recipe(process, weighting, args.steps, args.width), args.data_dir
            )
            print(f"trained {folder.name}", flush=True)
    if not args.n:
        return
    for run in args.run:
        folders[run.name, "as it is"] = run
    chosen = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[: args.n].sort().values
    print("| process | weighting | bits/dim | 95% | solver | ends | ELBO | evaluations | beside eps |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows, of_eps = [], {}
    for (process, weighting), folder in folders.items():
        result, bound = scored(folder, chosen, args.probes, args.tolerance, args.data_dir)
        of_eps.setdefault(process, result.bits)
        beside = result.bits - of_eps[process]
        low, high = result.interval()
        row = {
            "process": process,
            "weighting": weighting,
            "bits": result.mean,
            "low": low,
            "high": high,
            "solver": float(result.solver.mean()),
            "truncation": float(result.truncation.mean()),
            "elbo": float(bound.mean()),
            "evaluations": float(result.evaluations.double().mean()),
            "beside": float(beside.mean()),
            "beside_stderr": float(beside.std()) / math.sqrt(len(beside)),
        }
        rows.append(row)
        print(
            "| {process} | {weighting} | {bits:.3f} | {low:.3f} to {high:.3f} | {solver:.4f} | {truncation:.4f} | "
            "{elbo:.3f} | {evaluations:.0f} | {beside:+.3f} ± {beside_stderr:.3f} |".format(**row),
            flush=True,
        )
    OUT.mkdir(exist_ok=True)
    about = {"steps": args.steps, "width": args.width, "n": args.n, "probes": args.probes, "tolerance": args.tolerance}
    (OUT / "bits_per_dim.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
