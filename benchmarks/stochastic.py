"""Stochastic solvers on exact denoisers: how far their samples are from exact ones, and what the steps alone do.

    OMP_NUM_THREADS=1 python benchmarks/stochastic.py [--seeds 101 102 103 104] [--families A B C] [--nfe 5 8 10]

For each family of `_families.py`, setting, solver and number of evaluations: the sliced 2-Wasserstein distance of 8,192
samples to exact sets, and the total variation of their mode weights (of C: of the digit classes of the nearest datum),
each over its Monte Carlo floor, the same between exact sets; means over four draws, geometric means over instances.
Then the standard deviation that each solver gives N(0, 0.5^2), over 0.5: no samples, `sf.discretisation_bias`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections.abc import Callable
from statistics import geometric_mean

import matplotlib as mpl
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import scorefield as sf
from _families import FAMILIES, OUT, family
from scorefield.metrics import sliced_wasserstein

N, DRAWS, SETS = 8192, 4, 7
NFE = (5, 8, 10, 12, 15, 20, 30, 50)
SCHEDULES: dict[str, sf.Schedule] = {"vp": sf.VP(0.1, 20.0), "edm": sf.EDM(sigma_max=80.0)}
SOLVERS: dict[str, sf.Solver] = {
    "StochasticAdams": sf.StochasticAdams(),
    "AnalyticDPM": sf.AnalyticDPM(),
    "DDPM": sf.DDPM(),
    "DPM-Solver++ SDE": sf.DPMSolverPP(eta=1.0),
    "SA-Solver": sf.SASolver(),
    "Euler-Maruyama": sf.EulerMaruyama(),
}
DETERMINISTIC = "the default, deterministic"
distance = functools.partial(sliced_wasserstein, projections=128)


class Judge:
    """Exact sets of one distribution, and the two distances to them over their floors."""

    def __init__(self, name: str, law: sf.Distribution, seed: int) -> None:
        generator = torch.Generator().manual_seed(20_000 + seed)
        self.weights, self.truth = mode_weights(name, law)
        self.sets = [law.sample(N, generator=generator) for _ in range(SETS)]
        pairs = [distance(x, y) for x, y in zip(self.sets, self.sets[1:], strict=False)]
        self.floor = sum(pairs) / len(pairs)
        self.weights_floor = sum(map(self.off, self.sets)) / SETS

    def off(self, x: Tensor) -> float:
        return float((self.weights(x) - self.truth).abs().sum() / 2)

    def __call__(self, drawn: list[Tensor]) -> tuple[float, float]:
        apart = sum(distance(x, y) for x, y in zip(drawn, self.sets, strict=False)) / len(drawn)
        return apart / self.floor, sum(map(self.off, drawn)) / len(drawn) / self.weights_floor


def mode_weights(name: str, law: sf.Distribution) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """(of samples, of the law)."""
    if isinstance(law, sf.GaussianMixture):
        return lambda x: law.responsibilities(x).double().mean(0), law.weights.double()
    assert isinstance(law, sf.Empirical), name
    digit = torch.from_numpy(load_digits(return_X_y=True)[1])
    shares = functools.partial(torch.bincount, minlength=10)
    return lambda x: shares(digit[torch.cdist(x, law.data).argmin(1)]) / len(x), shares(digit) / len(digit)


def compare(name: str, seeds: list[int], evaluations: list[int]) -> list[dict[str, object]]:
    seeds = seeds if name != "C" else seeds[:1]
    judges = {seed: Judge(name, family(name, seed), seed) for seed in seeds}
    rows: list[dict[str, object]] = []
    for setting, schedule in SCHEDULES.items():
        print(f"\n{name} {setting}, sliced W2 / mode weights over their floors")
        print(f"{'NFE':28s}" + "".join(f"{n:>12d}" for n in evaluations))
        for title, solver in [*SOLVERS.items(), (DETERMINISTIC, None)]:
            cells = []
            for nfe in evaluations:
                ratios = []
                for seed in seeds:
                    exact = sf.ExactDenoiser(family(name, seed), schedule)
                    shape = (N, *exact.distribution.event_shape)
                    dtype = torch.float32 if name == "C" else torch.float64
                    draws = [
                        sf.sample(exact, shape, solver=solver, nfe=nfe, seed=1000 * seed + k, dtype=dtype).x.double()
                        for k in range(DRAWS if name != "C" else 2)
                    ]
                    ratios.append(judges[seed](draws))
                sw, modes = (geometric_mean(column) for column in zip(*ratios, strict=True))
                cells.append(f"{sw:.2f}/{modes:.2f}")
                rows.append({"family": name, "setting": setting, "solver": title, "nfe": nfe, "sw": sw, "modes": modes})
            print(f"{title:28s}" + "".join(f"{cell:>12s}" for cell in cells), flush=True)
    return rows


def budget() -> list[dict[str, object]]:
    """Standard deviation of the generated N(0, 0.5^2) over 0.5, each solver on the grid it takes by itself."""
    gaussian = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1), torch.full((1,), 0.25)), SCHEDULES["vp"])
    solvers = SOLVERS | {
        "DDIM": sf.DDIM(),
        "DDPM, large variance": sf.DDPM(large_variance=True),
        "GaussianExact(Euler-Maruyama)": sf.GaussianExact(sf.EulerMaruyama()),
    }
    rows: list[dict[str, object]] = []
    print("\nstd of the generated N(0, 0.5^2) over 0.5")
    for title, solver in solvers.items():
        stds = {}
        for nfe in (10, 20, 50, 100):
            chosen, times = solver.within(gaussian, nfe)
            stds[nfe] = sf.discretisation_bias(chosen, gaussian.schedule, times, data_std=0.5).std
        print(f"{title:32s}" + "".join(f"{nfe:>6d}: {std:.3f}" for nfe, std in stds.items()))
        rows.append({"solver": title, "std": stds})
    return rows


def plot(rows: list[dict[str, object]], names: list[str]) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.4), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for title in [*SOLVERS, DETERMINISTIC]:
            mine = [r for r in rows if (r["family"], r["setting"], r["solver"]) == (name, "vp", title)]
            axis.plot([r["nfe"] for r in mine], [r["sw"] for r in mine], label=title)
        axis.axhline(1, color="grey", lw=0.8)
        axis.set(title=f"{name}, vp", xscale="log", yscale="log", xlabel="evaluations", ylim=(0.7, 30))
    axes[0][0].set_ylabel("sliced W2 over its floor")
    axes[0][-1].legend(fontsize=7)
    figure.savefig(OUT / "stochastic.png", dpi=130, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--nfe", type=int, nargs="+", default=list(NFE))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in asked.families for row in compare(name, asked.seeds, asked.nfe)]
    result = {"distances": [r for r in rows if math.isfinite(float(str(r["sw"])))], "budget": budget()}
    OUT.mkdir(exist_ok=True)
    (OUT / "stochastic.json").write_text(json.dumps(result, indent=1))
    plot(rows, asked.families)


if __name__ == "__main__":
    main()
