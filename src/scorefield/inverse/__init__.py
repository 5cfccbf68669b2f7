"""Inverse problems: from y = A(x0) + n and a prior, the posterior p(x0 | y).

    posterior = condition(denoiser, GaussianNoise(operator, y, noise_std))
    samples = posterior.sample(16, nfe=50)      # .x (B, 16, *event), .mean, .std, .interval(0.9), .log_evidence, .chi2

`Bridge`, `LaplaceBridge` (for any noise and operator) and `TwistedSMC` are particle methods: right as particles and
steps grow, and they report p(y) and how many particles counted. The others are what the literature uses, each an
approximation that no number of steps removes.
"""

from scorefield._renamed import renamed
from scorefield.inverse import operators
from scorefield.inverse.bridge import Bridge
from scorefield.inverse.calibration import Calibration, calibration, predictive_p_value
from scorefield.inverse.guided import DDNM, DiffPIR, Guidance, Guided, MomentMatching, PiGDM
from scorefield.inverse.heuristics import DAPS, DDRM, DPS, REDDiff
from scorefield.inverse.laplace import LaplaceBridge
from scorefield.inverse.measurement import GaussianNoise, Likelihood, simulate
from scorefield.inverse.method import Method
from scorefield.inverse.moments import Covariance, FullCovariance, IsotropicCovariance
from scorefield.inverse.noises import Gamma, Poisson, PoissonGaussian, Rice, Student
from scorefield.inverse.posterior import Posterior, PosteriorSamples, condition
from scorefield.inverse.recommended import name_of, named, recommended
from scorefield.inverse.spectral import ErrorSpectrum, SpectralBridge, calibrate_spectrum
from scorefield.inverse.summary import Moments, Quality, moments, psnr, quality
from scorefield.inverse.twisted import TwistedSMC
from scorefield.inverse.units import Units

__all__ = [
    "DAPS",
    "DDNM",
    "DDRM",
    "DPS",
    "Bridge",
    "Calibration",
    "Covariance",
    "DiffPIR",
    "ErrorSpectrum",
    "FullCovariance",
    "Gamma",
    "GaussianNoise",
    "Guidance",
    "Guided",
    "IsotropicCovariance",
    "LaplaceBridge",
    "Likelihood",
    "Method",
    "MomentMatching",
    "Moments",
    "PiGDM",
    "Poisson",
    "PoissonGaussian",
    "Posterior",
    "PosteriorSamples",
    "Quality",
    "REDDiff",
    "Rice",
    "SpectralBridge",
    "Student",
    "TwistedSMC",
    "Units",
    "calibrate_spectrum",
    "calibration",
    "condition",
    "moments",
    "name_of",
    "named",
    "operators",
    "predictive_p_value",
    "psnr",
    "quality",
    "recommended",
    "simulate",
]

__getattr__ = renamed(__name__, {"Gaussian": "GaussianNoise"})
