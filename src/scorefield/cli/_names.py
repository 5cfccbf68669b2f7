"""Names to things: the one table of the command line.

Each entry is `module:attribute` and keyword arguments, resolved when used, so that reading the table imports nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from scorefield.cli._errors import unknown

Table = Mapping[str, tuple[str, dict[str, Any]]]

SOLVERS: Table = {
    "ddim": ("scorefield.solvers:DDIM", {}),
    "ddpm": ("scorefield.solvers:DDPM", {}),
    "euler": ("scorefield.solvers:Euler", {}),
    "heun": ("scorefield.solvers:Heun", {}),
    "rk4": ("scorefield.solvers:RK4", {}),
    "adaptive": ("scorefield.solvers:Adaptive", {}),
    "dpm-solver-3": ("scorefield.solvers:DPMSolver", {"order": 3}),
    "dpm-solver++": ("scorefield.solvers:DPMSolverPP", {}),
    "dpm-solver++-3m": ("scorefield.solvers:DPMSolverPP", {"order": 3}),
    "dpm-solver++-sde": ("scorefield.solvers:DPMSolverPP", {"eta": 1.0}),
    "deis": ("scorefield.solvers:DEIS", {}),
    "unipc": ("scorefield.solvers:UniPC", {}),
    "sa-solver": ("scorefield.solvers:SASolver", {}),
    "edm-churn": ("scorefield.solvers:Churn", {}),
    "adaptive-sde": ("scorefield.solvers:AdaptiveSDE", {}),
    "euler-maruyama": ("scorefield.solvers:EulerMaruyama", {}),
    "predictor-corrector": ("scorefield.solvers:PredictorCorrector", {}),
    "analytic-dpm": ("scorefield.solvers:AnalyticDPM", {}),
    "stochastic-adams": ("scorefield.solvers:StochasticAdams", {}),
    "annealed-langevin": ("scorefield.solvers:AnnealedLangevin", {}),
}

#: Ways to draw from a posterior.
METHODS: Table = {
    "bridge": ("scorefield.inverse:Bridge", {}),
    "twisted-smc": ("scorefield.inverse:TwistedSMC", {}),
    "moment-matching": ("scorefield.cli._reconstruct:guided", {"which": "MomentMatching"}),
    "pigdm": ("scorefield.cli._reconstruct:guided", {"which": "PiGDM"}),
    "diffpir": ("scorefield.cli._reconstruct:guided", {"which": "DiffPIR"}),
    "ddnm": ("scorefield.cli._reconstruct:guided", {"which": "DDNM"}),
    "dps": ("scorefield.inverse:DPS", {}),
    "ddrm": ("scorefield.inverse:DDRM", {}),
    "daps": ("scorefield.inverse:DAPS", {}),
    "red-diff": ("scorefield.inverse:REDDiff", {}),
}

PRESETS: Table = {
    "digits": ("scorefield.recipes.presets:digits", {}),
    "mnist": ("scorefield.recipes.presets:mnist", {}),
    "fashion": ("scorefield.recipes.presets:fashion", {}),
    "captions": ("scorefield.recipes.presets:captions", {}),
    "two-moons": ("scorefield.recipes.presets:two_moons", {}),
    "tabular": ("scorefield.recipes.presets:tabular", {}),
    "series": ("scorefield.recipes.presets:series", {}),
    "image-folder": ("scorefield.recipes.presets:image_folder", {}),
}

STATISTICS: Table = {
    "score-norms": ("scorefield.anomaly:score_norms", {}),
    "denoising-error": ("scorefield.anomaly:denoising_error", {}),
    "likelihood": ("scorefield.anomaly:likelihood", {}),
    "typicality": ("scorefield.anomaly:typicality", {}),
    "complexity": ("scorefield.anomaly:complexity", {}),
}

#: Two-dimensional laws, exact at every noise level.
SHAPES: Table = {
    "eight-gaussians": ("scorefield.distributions:eight_gaussians", {}),
    "two-moons": ("scorefield.distributions:two_moons", {}),
    "spiral": ("scorefield.distributions:spiral", {}),
    "checkerboard": ("scorefield.distributions:checkerboard", {}),
    "rings": ("scorefield.distributions:rings", {}),
    "pinwheel": ("scorefield.distributions:pinwheel", {}),
}


def resolve(kind: str, name: str, table: Table, **options: Any) -> Any:
    """What `name` stands for, called with the table's arguments and `options`.

    Raises:
        ValueError: for an unknown name; says which known one is nearest.
    """
    if name not in table:
        raise unknown(kind, name, table)
    where, arguments = table[name]
    module, attribute = where.split(":")
    return getattr(importlib.import_module(module), attribute)(**arguments, **options)
