"""Solvers: how x_t becomes x_s."""

from scorefield.solvers.adaptive_sde import AdaptiveSDE
from scorefield.solvers.ancestral import DDIM, DDPM
from scorefield.solvers.base import AffineSolver, Solver, State, Step
from scorefield.solvers.churn import Churn
from scorefield.solvers.dynamics import Dynamics, Exponential, Overdamped, Underdamped
from scorefield.solvers.fields import DataPrediction, Field, NoisePrediction, PathVelocity
from scorefield.solvers.multistep import DEIS, DPMSolverPP, Multistep, SASolver, UniPC
from scorefield.solvers.ode import Euler, Heun
from scorefield.solvers.sde import AnnealedLangevin, EulerMaruyama, PredictorCorrector

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "AdaptiveSDE",
    "AffineSolver",
    "AnnealedLangevin",
    "Churn",
    "DPMSolverPP",
    "DataPrediction",
    "Dynamics",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Field",
    "Heun",
    "Multistep",
    "NoisePrediction",
    "Overdamped",
    "PathVelocity",
    "PredictorCorrector",
    "SASolver",
    "Solver",
    "State",
    "Step",
    "Underdamped",
    "UniPC",
]
