"""What the page can show without a server: schedules as tables, and plans of solvers for every budget it offers.

Plans are for data of mean 0 and standard deviation 1, whatever is on the screen, so that one table serves every
density; 'copy as Python' says so. Numbers keep 15 digits.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import torch

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.play.plans import Written, written
from scorefield.schedules import EDM, VP, Rectified, Schedule, SubVP
from scorefield.solvers import (
    DDIM,
    DDPM,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    Multistep,
    PredictorCorrector,
    SASolver,
    Solver,
    UniPC,
    recommended,
)

SCHEDULES: dict[str, Schedule] = {"VP": VP(), "sub-VP": SubVP(), "VE": EDM(), "rectified": Rectified()}
SOLVERS: dict[str, Solver | None] = {  # None: the default
    "default": None,
    "Euler (ODE)": Euler(),
    "Heun": Heun(),
    "DDIM": DDIM(),
    "DPM-Solver++": DPMSolverPP(),
    "UniPC": UniPC(),
    "DDPM": DDPM(),
    "Euler-Maruyama": EulerMaruyama(),
    "predictor-corrector": PredictorCorrector(),
    "SA-Solver": SASolver(),
}
BUDGETS = (5, 10, 20, 40)
ROUND_TRIP = 64  # evaluations each way


class Unit(Denoiser):
    """Of data of mean 0 and standard deviation 1, for methods that only ask what they are."""

    data_mean, data_std = 0.0, 1.0

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule


def method(solver: str, schedule: str, nfe: int) -> tuple[Solver, torch.Tensor]:
    """A solver and its grid within `nfe` evaluations, as `sample` would choose them for unit data.

    Raises:
        KeyError: for a name that is not shown.
        ValueError: where the method cannot start at that process's end, or needs more evaluations.
    """
    chosen, process = SOLVERS[solver], SCHEDULES[schedule]
    if chosen is None:
        return recommended(process, nfe, data_std=1.0)
    return chosen.within(Unit(process), nfe)


@functools.cache
def shown() -> str:
    """All of it, as JSON: {"schedules", "plans": by "solver|schedule|nfe", "encode", "decode": by schedule}."""
    times = torch.linspace(0, 1, 201, dtype=torch.float64, device="cpu")
    tables: dict[str, Any] = {}
    plans: dict[str, Written] = {}
    ways: dict[str, dict[str, Written]] = {"encode": {}, "decode": {}}
    for name, schedule in SCHEDULES.items():
        alpha, sigma = schedule(times)
        tables[name] = {"t": times.tolist(), "alpha": alpha.tolist(), "sigma": sigma.tolist()}
        for solver in SOLVERS:
            for nfe in BUDGETS:
                try:
                    chosen, grid = method(solver, name, nfe)
                    plans[f"{solver}|{name}|{nfe}"] = written(chosen, schedule, grid)
                except ValueError:
                    continue  # no such method from this process's end, or in so few evaluations
        # as bijection.latents
        down = grids.angular(schedule, ROUND_TRIP, power=1.8, scale=2.0, onset=1.0, s_max=40.0, s_min=grids.S_MIN)
        ways["decode"][name] = written(Multistep(), schedule, down)
        ways["encode"][name] = written(Multistep(), schedule, down.flip(0))
    return json.dumps(_brief({"schedules": tables, "plans": plans, **ways}), separators=(",", ":"))


def _brief(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.15g}")
    if isinstance(value, dict):
        return {k: _brief(v) for k, v in value.items()}
    return [_brief(v) for v in value] if isinstance(value, list | tuple) else value
