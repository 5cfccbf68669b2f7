"""The default sampler at every number of evaluations: where does one more make the error larger?

    OMP_NUM_THREADS=1 python benchmarks/every_step.py                    # A on eight schedules, B and C on two: minutes
    OMP_NUM_THREADS=1 python benchmarks/every_step.py --families A --seeds 500 501 --most 20

Median distance to the exact end, the geometric mean over instances on which nothing was chosen; the data are moved and
stretched to each mean and standard deviation. A rise is an error above 1.02 times that with one evaluation fewer.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise
from statistics import fmean

import torch

import scorefield as sf
from _families import FAMILIES, OUT, family, reference, relative_distance, start

SCHEDULES: dict[str, sf.Schedule] = {
    "vp": sf.VP(),
    "edm": sf.EDM(sigma_max=80.0),
    "rectified": sf.Rectified(),
    "cosine": sf.Cosine(),
    "sub-vp": sf.SubVP(),
    "ve": sf.VE(),
    "chain": sf.schedules.Discrete.linear(),
    "brownian": sf.Brownian(),
}
SHIFTS = ((0.0, 1.0), (30.0, 1.0), (300.0, 1.0), (0.0, 0.1), (0.0, 13.0))  # mean, standard deviation


class Moved(sf.Denoiser):
    """Of mean + std x0, x0 of the law."""

    def __init__(self, law: sf.Distribution, schedule: sf.Schedule, mean: float, std: float) -> None:
        super().__init__()
        self.law, self.schedule, self.mean, self.std = law, schedule, mean, std
        self.data_mean, self.data_std = mean + std * law.mean, std * float(law.variance.mean().sqrt())

    def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = self.schedule(t)
        return self.mean + self.std * self.law.denoise((x_t - alpha * self.mean) / self.std, alpha, sigma / self.std)


def medians(name: str, schedule: sf.Schedule, mean: float, std: float, seed: int, n: int, most: int) -> list[float]:
    law = family(name, seed)
    last = min(float(schedule.noise_ratio(1.0)) / std, 1e6)  # sigma / alpha in the law's own units
    own = sf.ExactDenoiser(law, sf.EDM(sigma_max=last))
    y = start(own, n, seed)
    end, (alpha, sigma) = reference(own, y)[0], schedule(1.0)
    denoiser, x = Moved(law, schedule, mean, std), sigma / last * y + alpha * mean
    found = []
    for nfe in range(1, most + 1):
        out = (sf.sample(denoiser, x, nfe=nfe).x - mean) / std
        found.append(float(relative_distance(out, end).median()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES), choices=SCHEDULES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[500, 501, 502, 503])
    parser.add_argument("--n", type=int, default=128, help="starts of an instance")
    parser.add_argument("--most", type=int, default=60, help="evaluations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = {}
    for name in args.families:
        for schedule in args.schedules if name == "A" else [s for s in args.schedules if s in ("vp", "edm")]:
            for mean, std in SHIFTS if (name, schedule) == ("A", "edm") else SHIFTS[:1]:
                seeds, n = (args.seeds, args.n) if name == "A" else (args.seeds[:2], args.n // 4)
                runs = [medians(name, SCHEDULES[schedule], mean, std, seed, n, args.most) for seed in seeds]
                error = [math.exp(fmean(math.log(run[i]) for run in runs)) for i in range(args.most)]
                rises = [(i + 1, round(b / a, 3)) for i, (a, b) in enumerate(pairwise(error), 1) if b > 1.02 * a]
                table[f"{name} {schedule} {mean:g} {std:g}"] = error
                few = " ".join(f"{error[n - 1]:.2g}" for n in (5, 10, 20, 40, 60) if n <= args.most)
                print(f"{name} {schedule}, mean {mean:g}, std {std:g}: {few}; rises: {rises or 'none'}", flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "every_step.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
