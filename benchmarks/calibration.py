"""Calibration of posterior samplers whose prior is exact: who means what they say.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--truths 300] [--n 39] [--nfe 50]

The prior is the 16-D mixture of `inverse.py` (8 components of rank 4 + diagonal, on VP), 4 random projections are
measured. Truths are drawn from it and measured, each posterior is sampled `--n` times, and ranks, coverage, TARP and
the posterior predictive p-value are asked of them all: `inverse.calibration`. 'prior' hands out the prior as the
posterior.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

import scorefield as sf
from _families import OUT
from inverse import problem
from scorefield import plots
from scorefield.inverse import (
    DPS,
    Bridge,
    Calibration,
    Guidance,
    Method,
    MomentMatching,
    PiGDM,
    TwistedSMC,
    calibration,
)
from scorefield.inverse.method import Cost, Drawn, Task


@dataclass(frozen=True)
class Prior(Method):
    """Samples that never saw y."""

    law: sf.GaussianMixture

    def steps(self, nfe: int) -> int:
        return 1

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(0)

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        return Drawn(self.law.sample(len(task.index), generator=torch.Generator().manual_seed(task.seed)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--truths", type=int, default=300)
    parser.add_argument("--n", type=int, default=39)
    parser.add_argument("--nfe", type=int, default=50)
    parser.add_argument("--seed", type=int, default=101)
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = problem("mixture", options.seed)
    denoiser = sf.ExactDenoiser(given.law, sf.VP())
    truths = given.law.sample(options.truths, generator=torch.Generator().manual_seed(options.seed + 1))
    methods: dict[str, Method] = {
        "Bridge": Bridge(),
        "TwistedSMC": TwistedSMC(),
        "MomentMatching": Guidance(MomentMatching),
        "PiGDM": Guidance(PiGDM),
        "DPS": DPS(),
        "prior": Prior(given.law),
    }
    OUT.mkdir(exist_ok=True)
    rows: list[dict[str, float | str]] = []
    for name, method in methods.items():
        start = time.process_time()
        found: Calibration = calibration(
            denoiser, given.given.operator, given.given.noise_std, truths, method=method, n=options.n, nfe=options.nfe
        )
        row: dict[str, float | str] = {"method": name, **found.table(), "cpu_seconds": time.process_time() - start}
        rows.append(row)
        if name == "Bridge":
            print("  ".join(f"{key:>14s}" for key in row))
        print("  ".join(f"{v:14.3g}" if isinstance(v, float) else f"{v:>14s}" for v in row.values()), flush=True)
        plots.save(plots.calibration(found, title=name), OUT / f"calibration-{name}.png")
    (OUT / "calibration.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
