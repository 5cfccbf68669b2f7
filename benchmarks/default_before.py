"""The default sampler over the rule it replaced, on instances that nothing was chosen on.

    OMP_NUM_THREADS=1 python benchmarks/default_before.py                      # A, B and C on edm, A on two modest ends
    OMP_NUM_THREADS=1 python benchmarks/default_before.py --nfe 5 10 20 --first-seed 710

The rule before was three Adams methods by number of evaluations on one grid. Of each cell: median and RMS error of the
present over those of before (geometric means over instances), and how many samples ended in another mode, present and
before: a handful of them decide an RMS.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

import torch

import scorefield as sf
from _families import ASTRAY, OUT, family, reference, relative_distance, start
from scorefield import grids
from scorefield.solvers import Multistep
from scorefield.solvers.fields import PathVelocity

NFES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24, 27, 30, 35, 40, 50, 60)
CASES: dict[str, tuple[str, sf.Schedule, int]] = {  # family, schedule, instances
    "A edm": ("A", sf.EDM(sigma_max=80.0), 6),
    "B edm": ("B", sf.EDM(sigma_max=80.0), 4),
    "C edm": ("C", sf.EDM(sigma_max=80.0), 1),
    "A, VE to 10": ("A", sf.VE(sigma_max=10.0), 2),
    "A, 200 DDPM steps": ("A", sf.schedules.Discrete.linear(200), 2),
}


ROWS: tuple[tuple[float, Multistep], ...] = (  # up to so many evaluations
    (8, Multistep(order=3, field=PathVelocity(sf.Rectified(), scale=0.65))),
    (17, Multistep(order=4, field=PathVelocity(sf.Rectified(), scale=1.75))),
    (math.inf, Multistep(order=5, field=PathVelocity(sf.Cosine(0.0), scale=0.7), finish=2)),
)


def before(denoiser: sf.Denoiser, x: torch.Tensor, nfe: int) -> torch.Tensor:
    solver = next(solver for most, solver in ROWS if nfe <= most)
    times = grids.angular(denoiser.schedule, nfe, scale=2 * float(denoiser.data_std))
    return sf.sample(denoiser, x, solver=solver, times=times).x


class Errors(NamedTuple):
    median: float
    rms: float
    strays: int

    @classmethod
    def of(cls, x: torch.Tensor, end: torch.Tensor) -> Errors:
        apart = relative_distance(x, end)
        return cls(float(apart.median()), float(apart.square().mean().sqrt()), int((apart > ASTRAY).sum()))


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(fmean(math.log(v) for v in values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--nfe", nargs="+", type=int, default=list(NFES))
    parser.add_argument("--first-seed", type=int, default=700)
    parser.add_argument("--n", type=int, default=256, help="starts of an instance; a quarter on B and C")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table: dict[str, dict[int, tuple[float, float, int, int]]] = {}
    for case in args.cases:
        name, schedule, instances = CASES[case]
        found: dict[int, list[tuple[Errors, Errors]]] = {nfe: [] for nfe in args.nfe}
        for seed in range(args.first_seed, args.first_seed + instances):
            denoiser = sf.ExactDenoiser(family(name, seed), schedule)
            x = start(denoiser, args.n if name == "A" else args.n // 4, seed)
            end = reference(denoiser, x)[0]
            for nfe in args.nfe:
                new, old = sf.sample(denoiser, x, nfe=nfe).x, before(denoiser, x, nfe)
                found[nfe].append((Errors.of(new, end), Errors.of(old, end)))
        table[case] = {
            nfe: (
                mean(new.median / old.median for new, old in pairs),
                mean(new.rms / old.rms for new, old in pairs),
                sum(new.strays for new, _ in pairs),
                sum(old.strays for _, old in pairs),
            )
            for nfe, pairs in found.items()
        }
        print(f"{case} done", flush=True)
    print("\n| NFE | " + " | ".join(table) + " |\n| --- |" + " --- |" * len(table))
    for nfe in args.nfe:
        cells = ("{:.2f}, {:.2f} ({}, {})".format(*column[nfe]) for column in table.values())
        print(f"| {nfe} | " + " | ".join(cells) + " |")
    OUT.mkdir(exist_ok=True)
    (OUT / "default_before.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
