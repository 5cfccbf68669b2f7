"""Solvers: how x_t becomes x_s."""

from scorefield.solvers.ancestral import DDIM, DDPM
from scorefield.solvers.base import AffineSolver, Solver, State, Step
from scorefield.solvers.churn import Churn
from scorefield.solvers.ode import Euler, Heun
from scorefield.solvers.sde import AnnealedLangevin, EulerMaruyama, PredictorCorrector

__all__ = [
    "DDIM",
    "DDPM",
    "AffineSolver",
    "AnnealedLangevin",
    "Churn",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "PredictorCorrector",
    "Solver",
    "State",
    "Step",
]
