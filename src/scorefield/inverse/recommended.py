"""The method `condition` takes when the user names none."""

from __future__ import annotations

import math

from torch import Generator, Tensor

from scorefield.denoisers import Denoiser
from scorefield.inverse.bridge import Bridge
from scorefield.inverse.likelihood import Gaussian, Likelihood
from scorefield.inverse.moments import FullCovariance, IsotropicCovariance
from scorefield.inverse.operators.base import LinearOperator
from scorefield.inverse.posterior import Method
from scorefield.inverse.spectral import SpectralBridge, calibrate_spectrum
from scorefield.inverse.twisted import TwistedSMC
from scorefield.solvers import calibrate

FULL_LIMIT = 128  # numbers in an event up to which all of Tweedie's covariance is worth its vector-Jacobian products
PARTICLES_LIMIT = 1024  # up to which weights still tell particles apart by more than chance


def recommended(likelihood: Likelihood, denoiser: Denoiser | None = None, examples: Tensor | None = None) -> Method:
    """The best known for that likelihood.

    `TwistedSMC` unless the operator is linear and the noise Gaussian; then `Bridge`, with all of the covariance of x0
    given x_t where the event is small, else with one variance for all numbers; and for large pictures `SpectralBridge`.

    Args:
        denoiser, examples: what the covariance of pictures is measured on: some ten to a hundred `(N, *event)`, in the
            model's units, better not those it was trained on. Without them a picture's covariance is taken to be that
            of Gaussian data, which is much too wide.
    """
    if not isinstance(likelihood, Gaussian) or not isinstance(likelihood.operator, LinearOperator):
        return TwistedSMC()
    size = math.prod(likelihood.event_shape)
    if size <= FULL_LIMIT:
        return Bridge(covariance=FullCovariance())
    if denoiser is None or examples is None:
        return Bridge(particles=16, covariance=IsotropicCovariance())
    if size > PARTICLES_LIMIT and examples.ndim == 4:
        return SpectralBridge(calibrate_spectrum(denoiser, examples, generator=generator()))
    return Bridge(particles=16, covariance=IsotropicCovariance(calibrate(denoiser, examples, generator=generator())))


def generator() -> Generator:
    """Of the noise that measuring takes: the same every time."""
    return Generator().manual_seed(0)
