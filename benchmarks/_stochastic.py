"""`solvers.py --table stochastic`: how far samples drawn with noise are from exact ones, over the Monte Carlo floor.

Sliced W2 and the total variation of the mode weights (of C: of the digit of the nearest datum), each over its floor,
the same between two exact sets of the same sizes. And the standard deviation of the generated N(0, 0.5^2) over 0.5, the
score being exact: what a sampler's steps alone do to Gaussian data.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from itertools import combinations
from statistics import fmean
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import scorefield as sf
from _families import OUT, Problem, start
from _peers import Counted, Method, within
from _peers_stochastic import DEFAULTS, stochastic_methods
from scorefield.metrics import sliced_wasserstein

BUDGETS = (5, 8, 10, 12, 15, 20, 30, 50, 100)
MOST = {"A": 100, "B": 100, "C": 30}  # the largest budget of a family: C's denoiser is dear
SETS = 6  # exact sets to compare with; the floors are their means among themselves
SHOWN = (10, 20, 50)  # budgets of the Gaussian

# Ours, by name. Add the stochastic default here: it is compared like the rest.
OURS: dict[str, Callable[[sf.Denoiser, int, int, int], Tensor]] = {
    name: lambda denoiser, dim, n, nfe, solver=solver: (
        sf.sample(denoiser, (n, dim), solver=solver, nfe=nfe, seed=nfe, dtype=torch.float32).x
    )
    for name, solver in {
        "the default, deterministic": None,
        "SASolver()": sf.SASolver(),
        "DPMSolverPP(eta=1)": sf.DPMSolverPP(eta=1.0),
        "DDPM()": sf.DDPM(),
    }.items()
}


class Judge:
    """Exact sets of one law, and what samples of it are worth."""

    def __init__(self, law: sf.Distribution, n: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(30_000 + seed)
        self.sets = [law.sample(n, generator=generator).float() for _ in range(SETS)]
        self.weights, self.truth = _modes(law)
        self.floor = fmean(_sliced(x, y) for x, y in combinations(self.sets, 2))
        self.weights_floor = fmean(self._apart(x) for x in self.sets)

    def __call__(self, x: Tensor) -> dict[str, float]:
        x = torch.nan_to_num(x.float(), 1e3, 1e3, -1e3).clamp(-1e3, 1e3)
        sw = fmean(_sliced(x, y) for y in self.sets)
        return {"sw": sw / self.floor, "modes": self._apart(x) / self.weights_floor}

    def _apart(self, x: Tensor) -> float:
        return float((self.weights(x) - self.truth).abs().sum() / 2)


def _sliced(x: Tensor, y: Tensor) -> float:
    return sliced_wasserstein(x, y, projections=128)


def _modes(law: sf.Distribution) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    if isinstance(law, sf.GaussianMixture):
        return lambda x: law.responsibilities(x).double().mean(0), law.weights.double()
    assert isinstance(law, sf.Empirical)
    data, label = law.data.float(), torch.from_numpy(load_digits(return_X_y=True)[1])
    share = torch.bincount(label) / len(label)
    return lambda x: torch.bincount(label[torch.cdist(x, data).argmin(1)], minlength=10) / len(x), share


def compare(problem: Problem, peers: list[Method]) -> list[dict[str, Any]]:
    denoiser, n = problem.denoiser, problem.n
    law = denoiser.distribution
    judge = Judge(law, n, problem.seed)
    found: list[dict[str, Any]] = []

    def add(peer: str, solver: str, ladder: str, nfe: int, x: Tensor) -> None:
        case = {"family": problem.family, "setting": problem.setting, "seed": problem.seed}
        found.append(case | {"peer": peer, "solver": solver, "ladder": ladder, "nfe": nfe} | judge(x))

    budgets = [b for b in BUDGETS if b <= MOST[problem.family]]
    for nfe in budgets:
        for name, draw in OURS.items():
            add("ours", name, "", nfe, draw(denoiser, law.event_shape[0], n, nfe))
    alpha, sigma = (float(v) for v in denoiser.schedule(1.0))
    x_T = (start(denoiser, n, problem.seed) / math.hypot(alpha, sigma)).float()
    for method in peers:
        for nfe in budgets:
            if steps := within(method, nfe, sigma / alpha):
                torch.manual_seed(nfe)
                x = _drawn(method, lambda y, s: law.denoise(y.float(), 1.0, s), x_T, sigma / alpha, steps)
                add(method.peer, method.name, method.ladder, nfe, x)
    return found


def gaussian(peers: list[Method], n: int = 2**16) -> list[dict[str, Any]]:
    """Standard deviation of the generated N(0, 0.5^2) over 0.5; sampling error 1 / sqrt(2 n) = 0.3%."""
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1), torch.tensor([0.25])), sf.VP(0.1, 20.0))
    alpha, sigma = (float(v) for v in exact.schedule(1.0))
    generator = torch.Generator().manual_seed(1)
    x_T = torch.randn(n, 1, dtype=torch.float64, generator=generator) * math.hypot(0.5 * alpha, sigma)
    found = []
    for nfe in SHOWN:
        for name, draw in OURS.items():
            std = float(draw(exact, 1, n, nfe).std())
            found.append({"peer": "ours", "solver": name, "ladder": "", "nfe": nfe, "std": std / 0.5})
        for method in (m for m in peers if (m.peer, m.name, m.ladder) in DEFAULTS):
            torch.manual_seed(nfe)
            steps = within(method, nfe, sigma / alpha)
            x = _drawn(method, lambda y, s: y * 0.25 / (0.25 + s**2), x_T, sigma / alpha, steps)
            row = {"peer": method.peer, "solver": method.name, "ladder": method.ladder}
            found.append(row | {"nfe": nfe, "std": float(x.std()) / 0.5})
    return found


@torch.no_grad()
def _drawn(method: Method, denoise: Any, x: Tensor, s: float, steps: int) -> Tensor:
    return method.run(Counted(denoise), x, s, steps)


def table(found: list[dict[str, Any]]) -> None:
    """For each problem: ours, the peers' defaults, and the best of all the peers' settings at each budget."""
    for case in dict.fromkeys((r["family"], r["setting"], r["seed"]) for r in found):
        own = [r for r in found if (r["family"], r["setting"], r["seed"]) == case]
        print(f"\n{case[0]} {case[1]} instance {case[2]}: sliced W2 / mode weights, over their floors")
        print("| | " + " | ".join(str(b) for b in BUDGETS) + " |\n| --- |" + " --- |" * len(BUDGETS))
        lines = {("ours", name, ""): f"ours, {name}" for name in OURS} | {d: " ".join(d) for d in DEFAULTS}
        for key, title in lines.items():
            chosen = {r["nfe"]: r for r in own if (r["peer"], r["solver"], r["ladder"]) == key}
            print(f"| {title} | " + " | ".join(_cell(chosen.get(b)) for b in BUDGETS) + " |")
        peers = [[r for r in own if r["peer"] != "ours" and r["nfe"] == b] for b in BUDGETS]
        cells = [_cell(min(rows, key=lambda r: r["sw"])) if rows else "" for rows in peers]
        print("| best peer | " + " | ".join(cells) + " |")


def _cell(row: dict[str, Any] | None) -> str:
    return f"{row['sw']:.3g} / {row['modes']:.3g}" if row else ""


def main(args: argparse.Namespace) -> None:
    peers = [] if args.peers == "none" else stochastic_methods()
    found: list[dict[str, Any]] = []
    for family in args.families:
        for setting in args.settings:
            for seed in args.seeds if family != "C" else args.seeds[:1]:
                found += compare(Problem(family, setting, seed, args.n), peers)
                print(f"{family} {setting} {seed} done", flush=True)
    table(found)
    stds = gaussian(peers)
    print(f"\nstd of the generated N(0, 0.5^2) over 0.5, at {SHOWN} evaluations")
    for key in dict.fromkeys((r["peer"], r["solver"], r["ladder"]) for r in stds):
        values = [f"{r['std']:.3f}" for r in stds if (r["peer"], r["solver"], r["ladder"]) == key]
        print(f"| {' '.join(key)} | " + " | ".join(values) + " |")
    OUT.mkdir(exist_ok=True)
    (OUT / "solvers-stochastic.json").write_text(json.dumps({"distances": found, "gaussian": stds}, indent=1))
