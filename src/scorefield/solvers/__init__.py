"""Solvers: how x_t becomes x_s."""

from scorefield.solvers.adaptive_sde import AdaptiveSDE
from scorefield.solvers.ancestral import DDIM, DDPM
from scorefield.solvers.base import AffineSolver, Solver, State, Step
from scorefield.solvers.bias import Bias, discretisation_bias
from scorefield.solvers.churn import Churn
from scorefield.solvers.dynamics import Dynamics, Exponential, Overdamped, Underdamped
from scorefield.solvers.exact_variance import (
    AnalyticDPM,
    CalibratedVariance,
    GaussianExact,
    GaussianVariance,
    X0Variance,
    calibrate,
)
from scorefield.solvers.fields import DataPrediction, Field, NoisePrediction, PathVelocity
from scorefield.solvers.kriging import Kriging
from scorefield.solvers.multistep import DEIS, DPMSolverPP, Multistep, SASolver, StochasticAdams, UniPC
from scorefield.solvers.ode import RK4, Adaptive, Euler, Heun, RungeKutta
from scorefield.solvers.picard import Picard
from scorefield.solvers.recommended import Recommended, recommended
from scorefield.solvers.sde import AnnealedLangevin, EulerMaruyama, PredictorCorrector
from scorefield.solvers.singlestep import DPMSolver, DPMSolverPPS
from scorefield.solvers.tuned import Tuned

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "RK4",
    "Adaptive",
    "AdaptiveSDE",
    "AffineSolver",
    "AnalyticDPM",
    "AnnealedLangevin",
    "Bias",
    "CalibratedVariance",
    "Churn",
    "DPMSolver",
    "DPMSolverPP",
    "DPMSolverPPS",
    "DataPrediction",
    "Dynamics",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Field",
    "GaussianExact",
    "GaussianVariance",
    "Heun",
    "Kriging",
    "Multistep",
    "NoisePrediction",
    "Overdamped",
    "PathVelocity",
    "Picard",
    "PredictorCorrector",
    "Recommended",
    "RungeKutta",
    "SASolver",
    "Solver",
    "State",
    "Step",
    "StochasticAdams",
    "Tuned",
    "Underdamped",
    "UniPC",
    "X0Variance",
    "calibrate",
    "discretisation_bias",
    "recommended",
]
