"""Inverse problems: from y = A(x0) + n and a prior, the posterior p(x0 | y)."""

from scorefield.inverse import operators
from scorefield.inverse.likelihood import Gaussian, Likelihood

__all__ = ["Gaussian", "Likelihood", "operators"]
