"""Every peer's every setting on one problem: run once, kept as JSON.

A row is (peer, solver, ladder, budget, evaluations used, samples, RMS, median, strays). On A every setting is run. On
B and C, where the denoiser is dear, those that do well on A at the same setting and budget are tried on the first
quarter of the starts, and those that lead there, in RMS or in median, on all.

    OMP_NUM_THREADS=1 python benchmarks/_peer_runs.py A vp 0
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from _families import OUT, Problem
from _peers import PEERS, Counted, Method, documented, methods, within

BUDGETS = (5, 8, 10, 15, 20, 30, 50)
COLUMNS = ("rms", "median")
QUALIFIED, LEADERS = 250, 30  # settings of each budget and column that are tried on B and C, and that are run in full
DEFAULTS = (  # what a user of each library gets who asks for nothing
    ("diffusers", "DPM-Solver++ 2M midpoint", "linspace"),
    ("diffusers", "UniPC-2 bh2", "linspace"),
    ("diffusers", "DDIM", "leading"),
    ("k-diffusion", "Heun", "karras rho=7 min=0.002"),
    ("k-diffusion", "DPM++ 2M", "karras rho=7 min=0.002"),
    ("azula", "DDIM", "vp min=0.001"),
)


def rows(problem: Problem, fresh: bool = False) -> list[dict[str, Any]]:
    """The peers' rows on a problem, from disk unless `fresh`."""
    file = OUT / f"peers-{problem.family}-{problem.setting}-{problem.seed}-{problem.n}.json"
    if file.exists() and not fresh:
        return json.loads(file.read_text())
    table = [(method, nfe) for method in _methods() for nfe in BUDGETS]
    found = []
    if problem.family != "A":
        known = [row for seed in (0, 1) for row in rows(Problem("A", problem.setting, seed, problem.n))]
        table = _leading(table, known, QUALIFIED)
        found = _run(problem, problem.n // 4, table)
        table = _leading(table, found, LEADERS)
    found += _run(problem, problem.n, table)
    OUT.mkdir(exist_ok=True)
    file.write_text(json.dumps(found))
    return found


def best(
    rows: list[dict[str, Any]], nfe: int, column: str, n: int, only: Callable[[dict[str, Any]], bool] = documented
) -> dict[str, Any]:
    """The row of least `column` within a budget, among those on all `n` starts that are `only`."""
    return min((r for r in rows if r["nfe"] == nfe and r["n"] == n and only(r)), key=lambda r: r[column])


def _leading(table: list[tuple[Method, int]], known: list[dict[str, Any]], count: int) -> list[tuple[Method, int]]:
    """Of the table: at each budget, for each column, the `count` best of the known rows, and the defaults."""
    chosen = {(*default, nfe) for default in DEFAULTS for nfe in BUDGETS}
    for nfe in BUDGETS:
        for column in COLUMNS:
            ranked = sorted((r for r in known if r["nfe"] == nfe), key=lambda r: r[column])
            chosen |= {(r["peer"], r["solver"], r["ladder"], nfe) for r in ranked[:count]}
    return [(m, nfe) for m, nfe in table if (m.peer, m.name, m.ladder, nfe) in chosen]


def _run(problem: Problem, n: int, table: list[tuple[Method, int]]) -> list[dict[str, Any]]:
    return [row for method, nfe in table if (row := _row(problem, n, method, nfe))]


@cache
def _methods() -> list[Method]:
    return methods(tuple(PEERS))


_steps: dict[tuple[str, str, str, int], int] = {}


def _row(problem: Problem, n: int, method: Method, nfe: int) -> dict[str, Any] | None:
    key = (method.peer, method.name, method.ladder, nfe)
    alpha, sigma = (float(v) for v in problem.denoiser.schedule(1.0))
    law, x = problem.denoiser.distribution, problem.start[:n] / math.hypot(alpha, sigma)

    def denoise(y: Tensor, s: float) -> Tensor:
        return law.denoise(y, 1.0, s)

    if key not in _steps:
        _steps[key] = within(method, nfe, sigma / alpha)
    if not _steps[key]:
        return None
    counted = Counted(denoise)
    with torch.no_grad():
        x0 = method.run(counted, x, sigma / alpha, _steps[key])
    if counted.calls > nfe:
        raise AssertionError(f"{key} used {counted.calls} evaluations")
    rms, median, strays = problem.errors(x0)
    return {
        **dict(zip(("peer", "solver", "ladder", "nfe"), key, strict=True)),
        "evaluations": counted.calls,
        "n": n,
        "rms": rms,
        "median": median,
        "strays": strays,
    }


def main(family: str, setting: str, seed: str, n: str = "256") -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    problem = Problem(family, setting, int(seed), int(n))
    found = rows(problem)
    for nfe in BUDGETS:
        lines = [
            f"{b['rms']:.4f} {b['median']:.4f} {b['peer']} {b['solver']} {b['ladder']}"
            for b in (best(found, nfe, "rms", problem.n), best(found, nfe, "median", problem.n))
        ]
        print(family, setting, seed, nfe, *lines, sep=" | ", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
