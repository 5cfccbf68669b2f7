"""Solvers: how x_t becomes x_s."""

from scorefield.solvers.ancestral import DDIM, DDPM
from scorefield.solvers.base import AffineSolver, Solver, State, Step
from scorefield.solvers.ode import RK4, Euler, Heun, RungeKutta
from scorefield.solvers.sde import AnnealedLangevin, EulerMaruyama, PredictorCorrector
from scorefield.solvers.singlestep import DPMSolver, DPMSolverPPS

__all__ = [
    "DDIM",
    "DDPM",
    "RK4",
    "AffineSolver",
    "AnnealedLangevin",
    "DPMSolver",
    "DPMSolverPPS",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "PredictorCorrector",
    "RungeKutta",
    "Solver",
    "State",
    "Step",
]
