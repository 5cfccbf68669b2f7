"""Error against evaluations: the default sampler beside other libraries' best settings, on denoisers that are exact.

    OMP_NUM_THREADS=1 python benchmarks/solvers.py                       # ours against the peers' rows kept on disk
    OMP_NUM_THREADS=1 python benchmarks/solvers.py --peers fresh         # runs the peers: about an hour
    OMP_NUM_THREADS=1 python benchmarks/solvers.py --table stochastic

`_families.py` has the problems and the measure. Ours is one default, `sf.sample(denoiser, x_T, nfe=NFE)`. 'Best peer'
is chosen for each problem and number of evaluations among the settings that the libraries' own options reach; 'any
ladder' also lets their solvers run on lists of sigmas they do not offer. RMS and median each have a best peer of their
own; beside an RMS, in brackets, how many samples of ours and of that peer ended in another mode, if any did.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import scorefield as sf
from _families import FAMILIES, OUT, SETTINGS, Problem
from _peer_runs import BUDGETS, COLUMNS, DEFAULTS, best, rows
from scorefield.plots.style import COLORS, axes_of_curves, figure, save

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "solvers.png"
FEW, MORE = (5, 8, 10), (15, 20, 30, 50)


def compare(problem: Problem, fresh: bool) -> list[dict[str, Any]]:
    """One row a budget: our error, the best peer's, the best peer's on any ladder, and the defaults'."""
    known, found = rows(problem, fresh), []
    for nfe in BUDGETS:
        result = sf.sample(problem.denoiser, problem.start, nfe=nfe)
        if result.nfe > nfe:
            raise AssertionError(f"ours used {result.nfe} evaluations of {nfe}")
        row: dict[str, Any] = {"family": problem.family, "setting": problem.setting, "seed": problem.seed, "nfe": nfe}
        *errors, strays = problem.errors(result.x)
        for column, ours in zip(COLUMNS, errors, strict=True):
            peer = best(known, nfe, column, problem.n)
            row[column] = {
                "ours": ours,
                "peer": peer[column],
                "strays": (strays, peer["strays"]),
                "setting": " ".join(peer[key] for key in ("peer", "solver", "ladder")),
                "any ladder": best(known, nfe, column, problem.n, only=lambda r: True)[column],
                "defaults": {
                    " ".join(default): r[column]
                    for r in known
                    for default in DEFAULTS
                    if (r["peer"], r["solver"], r["ladder"]) == default and (r["nfe"], r["n"]) == (nfe, problem.n)
                },
            }
        found.append(row)
    return found


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs))


def ratios(found: list[dict[str, Any]], column: str, against: str, budgets: Iterable[int]) -> list[float]:
    return [r[column]["ours"] / r[column][against] for r in found if r["nfe"] in budgets]


def table(found: list[dict[str, Any]]) -> None:
    """Geometric means over the instances of each family."""
    cases = list(dict.fromkeys((r["family"], r["setting"]) for r in found))
    for column in COLUMNS:
        print(f"\n{column}: ours / best peer = ratio\n| NFE | " + " | ".join(" ".join(case) for case in cases) + " |")
        print("| --- |" + " --- |" * len(cases))
        for nfe in BUDGETS:
            cells = []
            for case in cases:
                own = [r[column] for r in found if (r["family"], r["setting"]) == case and r["nfe"] == nfe]
                ours, peer = mean(r["ours"] for r in own), mean(r["peer"] for r in own)
                cell = f"{ours:.2g} / {peer:.2g} = {ours / peer:.2f}"
                if column == "rms" and any(any(r["strays"]) for r in own):  # an RMS is theirs, whoever has them
                    cell += " ({}, {})".format(*(sum(r["strays"][i] for r in own) for i in (0, 1)))
                cells.append(cell)
            print(f"| {nfe} | " + " | ".join(cells) + " |")
        for against in ("peer", "any ladder"):
            few, more = (mean(ratios(found, column, against, b)) for b in (FEW, MORE))
            worst = max(found, key=lambda r: r[column]["ours"] / r[column][against])
            where = " ".join(str(worst[key]) for key in ("family", "setting", "seed", "nfe"))
            largest = worst[column]["ours"] / worst[column][against]
            name = "best peer" if against == "peer" else "best peer on any ladder"
            print(f"over the {name}: {few:.2f} at 5-10, {more:.2f} at 15-50, largest {largest:.2f} ({where})")


def plot(found: list[dict[str, Any]]) -> Path:
    """Error against evaluations, one panel a family and setting; geometric means over instances."""
    styles = {
        ("peers' best settings", "peer"): {"color": COLORS["truth"], "linestyle": "-"},
        ("peers' solvers, any sigmas", "any ladder"): {"color": COLORS["truth"], "linestyle": ":"},
        ("DPM++ 2M, diffusers' default", " ".join(DEFAULTS[0])): {"color": COLORS["fourth"], "linestyle": "-"},
        ("Heun, k-diffusion's karras", " ".join(DEFAULTS[3])): {"color": COLORS["third"], "linestyle": "-"},
        ("DDIM, diffusers' default", " ".join(DEFAULTS[2])): {"color": COLORS["second"], "linestyle": "-"},
        ("ours, the default", "ours"): {"color": COLORS["first"], "linestyle": "-", "linewidth": 2.4},
    }
    fig = figure(12, 7)
    families = [f for f in FAMILIES if any(r["family"] == f for r in found)]
    settings = [s for s in SETTINGS if any(r["setting"] == s for r in found)]
    grid = fig.subplots(len(settings), len(families), squeeze=False, sharey="col")
    for i, setting in enumerate(settings):
        for j, family in enumerate(families):
            ax, own = grid[i][j], [r for r in found if (r["family"], r["setting"]) == (family, setting)]
            for (label, key), style in styles.items():
                points = []
                for nfe in BUDGETS:
                    cells = [r["rms"] for r in own if r["nfe"] == nfe]
                    values = [c[key] if key in c else c["defaults"].get(key) for c in cells]
                    if values and all(values):
                        points.append((nfe, mean(values)))
                ax.plot(*zip(*points, strict=True), marker="o", markersize=3.5, label=label, **style)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks(BUDGETS, [str(b) for b in BUDGETS])
            ax.minorticks_off()
            axes_of_curves(
                ax,
                x="network evaluations" if i == len(settings) - 1 else "",
                y="relative RMS error" if j == 0 else "",
                title=f"{family}, {setting}",
            )
    grid[0][0].legend(frameon=False, fontsize=8)
    return save(fig, IMAGE)


def deterministic(args: argparse.Namespace) -> None:
    found: list[dict[str, Any]] = []
    for family in args.families:
        for setting in args.settings:
            for seed in args.seeds if family != "C" else args.seeds[:1]:  # C has one instance
                found += compare(Problem(family, setting, seed, args.n), args.peers == "fresh")
                print(f"{family} {setting} {seed} done", flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "solvers.json").write_text(json.dumps(found, indent=1))
    table(found)
    if set(args.families) == set(FAMILIES) and set(args.settings) == set(SETTINGS):
        print(plot(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("deterministic", "stochastic"), default="deterministic")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="instances")
    parser.add_argument("--n", type=int, help="starts of an instance (256), samples in the stochastic table (2048)")
    parser.add_argument("--peers", choices=("cached", "fresh", "none"), default="cached", help="none: stochastic only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.table == "stochastic":
        import _stochastic

        args.n = args.n or 2048
        _stochastic.main(args)
    else:
        args.n = args.n or 256
        deterministic(args)


if __name__ == "__main__":
    main()
