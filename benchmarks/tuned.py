"""`sf.tune` on the exact denoisers of `solvers.py`: tuned, the default and the best peer, on fresh noise.

    OMP_NUM_THREADS=1 python benchmarks/tuned.py      # needs the peers' rows that solvers.py keeps

It is tuned on trajectories from other noise than that it is judged on. Errors are RMS / median as in `solvers.py`.
"""

from __future__ import annotations

import json
import math
import time
from statistics import fmean

import torch

import scorefield as sf
from _families import OUT, Problem
from _peer_runs import best, rows

NFES = (5, 8, 10, 15)
PROBLEMS = [
    Problem(f, s, seed, 256) for f in ("A", "B", "C") for s in ("vp", "edm") for seed in (0, 1)[: 1 + (f < "C")]
]


def main() -> None:
    torch.set_num_threads(1)
    found = []
    print(f"{'problem':10s} {'NFE':>3s} {'default':>15s} {'tuned':>15s} {'best peer':>15s} {'CPU-s':>6s}")
    for p in PROBLEMS:
        known = rows(p, False)
        for nfe in NFES:
            start = time.process_time()
            result = sf.tune(p.denoiser, p.start.shape[1:], nfe, dtype=torch.float64, seed=1)
            seconds = time.process_time() - start
            default = p.errors(sf.sample(p.denoiser, p.start, nfe=nfe).x)[:2]
            tuned = p.errors(sf.sample(p.denoiser, p.start, solver=result.solver).x)[:2]
            peer = tuple(best(known, nfe, column, p.n)[column] for column in ("rms", "median"))
            name = f"{p.family} {p.setting} {p.seed}"
            found.append({"problem": name, "nfe": nfe, "default": default, "tuned": tuned, "peer": peer, "s": seconds})
            cells = " ".join(f"{a:7.4f}/{b:7.4f}" for a, b in (default, tuned, peer))
            print(f"{name:10s} {nfe:3d} {cells} {seconds:6.1f}", flush=True)
    for i, column in enumerate(("RMS", "median")):
        for nfe in NFES:
            ratio = math.exp(fmean(math.log(r["tuned"][i] / r["peer"][i]) for r in found if r["nfe"] == nfe))
            print(f"{column} over the best peer's at {nfe}: {ratio:.2f}")
    (OUT / "tuned.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
