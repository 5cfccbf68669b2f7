"""The Gaussian: the one law whose denoiser is linear in x_t.

With x0 ~ N(m, C), x_t = alpha x0 + sigma eps and V = alpha^2 C + sigma^2 I,

    p_t             = N(alpha m, V)
    score           = -V^-1 (x_t - alpha m)
    E[x0 | x_t]     = m + alpha C V^-1 (x_t - alpha m)
    Cov[x0 | x_t]   = sigma^2 C V^-1                      the same for every x_t

and after a measurement y = A x0 + n, n ~ N(0, R), x0 is Gaussian still, with the gain K = C A^T (A C A^T + R)^-1:

    E[x0 | y]       = m + K (y - A m),      Cov[x0 | y] = C - K A C.

All of it is computed in the eigenbasis of C (`_spectrum`), where V is diagonal: see `_components` for what that spares.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from scorefield.distributions._components import GaussianComponents, noise_covariance
from scorefield.distributions._spectrum import Spectrum
from scorefield.distributions.base import check_levels, common, parameter
from scorefield.tensors import as_tensor


class Gaussian(GaussianComponents):
    """N(mean, covariance) on vectors.

    Args:
        mean: `(D,)`.
        covariance: `(D, D)` symmetric positive definite, or `(D,)` variances (not standard deviations).

    Raises:
        ValueError: shapes disagree, an entry is NaN or infinite, the covariance is not symmetric positive definite.
    """

    def __init__(self, mean: Any, covariance: Any) -> None:
        mean = parameter("mean", mean, "D")
        d = len(mean)
        diagonal = as_tensor(covariance).ndim == 1
        covariance = parameter("covariance", covariance, *((d,) if diagonal else (d, d)))
        build = Spectrum.from_diagonal if diagonal else Spectrum.from_dense
        self._set(mean, build(covariance[None], "covariance"), common(mean, covariance))

    @classmethod
    def low_rank(cls, mean: Any, diagonal: Any, factor: Any) -> Self:
        """N(mean, diag(diagonal) + factor factor^T): `(D,)`, `(D,)` variances, `(D, R)`.

        With a constant diagonal (probabilistic PCA) a sample costs O(D R); otherwise an eigendecomposition is made here
        and a sample costs O(D^2).
        """
        mean = parameter("mean", mean, "D")
        diagonal = parameter("diagonal", diagonal, len(mean))
        factor = parameter("factor", factor, len(mean), "R")
        new = cls.__new__(cls)
        new._set(mean, Spectrum.from_low_rank(diagonal[None], factor[None]), common(mean, diagonal, factor))
        return new

    def _set(self, mean: Tensor, spectrum: Spectrum, dtype: torch.dtype) -> None:
        super().__init__(torch.ones(1, dtype=torch.float64, device=mean.device), mean.double()[None], spectrum, dtype)

    @classmethod
    def _of(cls, mean: Tensor, spectrum: Spectrum, dtype: torch.dtype) -> Self:
        new = cls.__new__(cls)
        new._set(mean, spectrum, dtype)
        return new

    @property
    def covariance(self) -> Tensor:
        """`(D, D)`."""
        return self._spectrum.dense()[0].to(self.dtype)

    def noised(self, alpha: float, sigma: float) -> Gaussian:
        """N(alpha mean, alpha^2 covariance + sigma^2 I)."""
        alpha, sigma = check_levels(alpha, sigma)
        return Gaussian._of(alpha * self._means[0], self._spectrum.noised(alpha, sigma), self.dtype)

    def posterior(self, operator: Any, y: Any, noise: float | Tensor) -> Gaussian:
        """The law of x0 given y = A x0 + n, n ~ N(0, noise).

        Args:
            operator: A, `(M, D)`.
            y: `(M,)`.
            noise: of n: a standard deviation, `(M,)` standard deviations, or an `(M, M)` covariance. Positive.
        """
        operator = parameter("operator", operator, "M", self._spectrum.dim).to(self.device, torch.float64)
        y = parameter("y", y, len(operator)).to(self.device, torch.float64)
        _, means, spectrum = self._condition(operator, y, noise_covariance(noise, len(y), y))
        return Gaussian._of(means[0], spectrum, self.dtype)
