"""The method `condition` takes when the user names none, and the methods by name."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Generator, Tensor

from scorefield.catalogue import METHODS, find, known
from scorefield.denoisers import Denoiser, ExactDenoiser
from scorefield.inverse.bridge import Bridge
from scorefield.inverse.guided import Guidance
from scorefield.inverse.heuristics import DAPS, DPS, REDDiff
from scorefield.inverse.laplace import LaplaceBridge
from scorefield.inverse.measurement import GaussianNoise, Likelihood
from scorefield.inverse.method import Method
from scorefield.inverse.moments import FullCovariance, IsotropicCovariance
from scorefield.inverse.operators.base import LinearOperator
from scorefield.inverse.spectral import SpectralBridge, calibrate_spectrum
from scorefield.inverse.twisted import TwistedSMC
from scorefield.solvers import calibrate

FULL_LIMIT = 128  # numbers in an event up to which all of Tweedie's covariance is taken
VJPS_LIMIT = 16  # the same for a network, where each number costs a vector-Jacobian product a step
PARTICLES_LIMIT = 1024  # up to which weights still tell particles apart by more than chance
ANY_OPERATOR = (LaplaceBridge, TwistedSMC, DPS, DAPS, REDDiff)


def named(name: str, likelihood: Likelihood, denoiser: Denoiser, examples: Callable[[], Tensor]) -> Method:
    """The method of that name, "ddrm" say, as it is without options.

    Args:
        examples: asked where the method measures something on data, `(N, *event)` in the model's units.

    Raises:
        ValueError: for an unknown name, the nearest known one is given; a likelihood that the method does not take.
    """
    name = known("method", name, METHODS)
    make = find(METHODS[name])
    if not _linear(likelihood) and make not in ANY_OPERATOR:
        raise ValueError(f"{name} takes linear operators with Gaussian noise only; laplace-bridge takes any")
    if make is not SpectralBridge:
        return make()
    if len(likelihood.event_shape) != 3:
        raise ValueError(f"{name} is for pictures (C, H, W); got events of shape {likelihood.event_shape}")
    return SpectralBridge(calibrate_spectrum(denoiser, examples(), generator=_generator()))


def name_of(method: Method) -> str:
    """What the command line calls it; its class where it has no name."""
    kind = method.guided if isinstance(method, Guidance) else type(method)
    places = {str(place).partition(":")[2].partition(".")[0]: name for name, place in METHODS.items()}
    return places.get(kind.__name__, kind.__name__)


def recommended(likelihood: Likelihood, denoiser: Denoiser | None = None, examples: Tensor | None = None) -> Method:
    """The best known for that likelihood.

    `Bridge` where the operator is linear and the noise Gaussian, for large pictures `SpectralBridge`; `LaplaceBridge`
    for every other. Both bridges take all of the covariance of x0 given x_t where the event is small, else one variance
    for all numbers.

    Args:
        denoiser, examples: what the covariance is measured on where all of it costs too much: some ten to a hundred
            `(N, *event)`, in the model's units, better not those it was trained on. Without them a picture's covariance
            is taken to be that of Gaussian data, which is much too wide.
    """
    linear = _linear(likelihood)
    bridge = Bridge if linear else LaplaceBridge
    size = math.prod(likelihood.event_shape)
    measured = denoiser is not None and examples is not None
    costly = measured and not isinstance(denoiser, ExactDenoiser) and size > VJPS_LIMIT
    if size <= FULL_LIMIT and not costly:
        return bridge(covariance=FullCovariance())
    if denoiser is None or examples is None:
        return bridge(particles=16, covariance=IsotropicCovariance())
    if linear and size > PARTICLES_LIMIT and examples.ndim == 4:
        return SpectralBridge(calibrate_spectrum(denoiser, examples, generator=_generator()))
    variance = calibrate(denoiser, examples, generator=_generator())
    return bridge(particles=64 if size <= FULL_LIMIT else 16, covariance=IsotropicCovariance(variance))


def _linear(likelihood: Likelihood) -> bool:
    return isinstance(likelihood, GaussianNoise) and isinstance(likelihood.operator, LinearOperator)


def _generator() -> Generator:
    """Of the noise that measuring takes: the same every time."""
    return Generator().manual_seed(0)
