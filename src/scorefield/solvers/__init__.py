"""Solvers: how x_t becomes x_s."""

from scorefield.solvers.ancestral import DDIM, DDPM
from scorefield.solvers.base import AffineSolver, Solver, State, Step
from scorefield.solvers.bias import Bias, discretisation_bias
from scorefield.solvers.exact_variance import (
    AnalyticDPM,
    CalibratedVariance,
    GaussianExact,
    GaussianVariance,
    X0Variance,
    calibrate,
)
from scorefield.solvers.fields import DataPrediction, Field, NoisePrediction, PathVelocity
from scorefield.solvers.multistep import DEIS, DPMSolverPP, Multistep, SASolver, StochasticAdams, UniPC
from scorefield.solvers.ode import Euler, Heun
from scorefield.solvers.sde import AnnealedLangevin, EulerMaruyama, PredictorCorrector

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "AffineSolver",
    "AnalyticDPM",
    "AnnealedLangevin",
    "Bias",
    "CalibratedVariance",
    "DPMSolverPP",
    "DataPrediction",
    "Euler",
    "EulerMaruyama",
    "Field",
    "GaussianExact",
    "GaussianVariance",
    "Heun",
    "Multistep",
    "NoisePrediction",
    "PathVelocity",
    "PredictorCorrector",
    "SASolver",
    "Solver",
    "State",
    "Step",
    "StochasticAdams",
    "UniPC",
    "X0Variance",
    "calibrate",
    "discretisation_bias",
]
