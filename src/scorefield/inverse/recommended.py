"""The method `condition` takes when the user names none."""

from __future__ import annotations

import math

from scorefield.inverse.bridge import Bridge
from scorefield.inverse.likelihood import Gaussian, Likelihood
from scorefield.inverse.moments import FullCovariance, IsotropicCovariance
from scorefield.inverse.operators.base import LinearOperator
from scorefield.inverse.posterior import Method
from scorefield.inverse.twisted import TwistedSMC

FULL_LIMIT = 128  # numbers in an event up to which all of Tweedie's covariance is worth its vector-Jacobian products


def recommended(likelihood: Likelihood) -> Method:
    """`Bridge` for a linear operator with Gaussian noise, all of the covariance where the event is small, else
    isotropic; `TwistedSMC` for any other likelihood."""
    if not isinstance(likelihood, Gaussian) or not isinstance(likelihood.operator, LinearOperator):
        return TwistedSMC()
    small = math.prod(likelihood.event_shape) <= FULL_LIMIT
    return Bridge(covariance=FullCovariance()) if small else Bridge(particles=16, covariance=IsotropicCovariance())
