"""Mixtures of Gaussians: any density, and still exact.

With x0 ~ sum_k pi_k N(m_k, C_k) and V_k = alpha^2 C_k + sigma^2 I,

    p_t             = sum_k pi_k N(alpha m_k, V_k)
    rho_k(x_t)      = pi_k N(x_t; alpha m_k, V_k) / p_t(x_t)               p(component k | x_t), the responsibilities
    score           = -sum_k rho_k V_k^-1 (x_t - alpha m_k)
    E[x0 | x_t]     = sum_k rho_k mu_k,    mu_k = m_k + alpha C_k V_k^-1 (x_t - alpha m_k)
    Cov[x0 | x_t]   = sum_k rho_k [sigma^2 C_k V_k^-1 + (mu_k - E)(mu_k - E)^T],    E = E[x0 | x_t]

The weights of the score are the responsibilities, not pi: between two components it is they that turn it round. After a
measurement y = A x0 + n each component is conditioned as a Gaussian is, and has the weight pi_k p(y | k), with p(y | k)
= N(y; A m_k, A C_k A^T + R).
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from scorefield.distributions._components import GaussianComponents, noise_covariance
from scorefield.distributions._spectrum import Spectrum
from scorefield.distributions.base import Level, check_levels, check_weights, common, parameter
from scorefield.tensors import as_tensor


class GaussianMixture(GaussianComponents):
    """sum_k weights_k N(means_k, covariances_k) on vectors.

    Its score is the mean of the components' scores under the *posterior* responsibilities, not under the weights.

    Args:
        weights: `(K,)`, non-negative, summing to 1 within 1e-4 (the rounding is then removed).
        means: `(K, D)`.
        covariances: `(K, D, D)` symmetric positive definite, or `(K, D)` variances (not standard deviations).

    Raises:
        ValueError: shapes disagree, an entry is NaN or infinite, weights do not sum to 1, a covariance is not symmetric
            positive definite.
    """

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        means = parameter("means", means, "K", "D")
        k, d = means.shape
        weights = parameter("weights", weights, k)
        diagonal = as_tensor(covariances).ndim == 2
        covariances = parameter("covariances", covariances, *((k, d) if diagonal else (k, d, d)))
        build = Spectrum.from_diagonal if diagonal else Spectrum.from_dense
        dtype = common(weights, means, covariances)
        super().__init__(check_weights(weights), means.double(), build(covariances), dtype)

    @classmethod
    def low_rank(cls, weights: Any, means: Any, diagonals: Any, factors: Any) -> Self:
        """Covariances diag(diagonals_k) + factors_k factors_k^T: `(K, D)` variances, `(K, D, R)`.

        With constant diagonals (probabilistic PCA) a sample costs O(K D R); otherwise K eigendecompositions are made
        here and a sample costs O(K D^2).
        """
        means = parameter("means", means, "K", "D")
        k, d = means.shape
        weights = parameter("weights", weights, k)
        diagonals = parameter("diagonals", diagonals, k, d)
        factors = parameter("factors", factors, k, d, "R")
        spectrum = Spectrum.from_low_rank(diagonals, factors)
        dtype = common(weights, means, diagonals, factors)
        return cls._of(check_weights(weights), means.double(), spectrum, dtype)

    @classmethod
    def _of(cls, weights: Tensor, means: Tensor, spectrum: Spectrum, dtype: torch.dtype) -> Self:
        new = cls.__new__(cls)
        GaussianComponents.__init__(new, weights, means, spectrum, dtype)
        return new

    @property
    def weights(self) -> Tensor:
        """`(K,)`."""
        return self._weights.to(self.dtype)

    @property
    def means(self) -> Tensor:
        """`(K, D)`."""
        return self._means.to(self.dtype)

    @property
    def covariances(self) -> Tensor:
        """`(K, D, D)`."""
        return self._spectrum.dense().to(self.dtype)

    def responsibilities(self, x_t: Tensor, alpha: Level = 1.0, sigma: Level = 0.0) -> Tensor:
        """p(component k | x_t), `(B, K)`, for `x_t` `(B, D)`."""
        return self._responsibilities(x_t, alpha, sigma)

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The same weights on N(alpha means_k, alpha^2 covariances_k + sigma^2 I)."""
        alpha, sigma = check_levels(alpha, sigma)
        return GaussianMixture._of(self._weights, alpha * self._means, self._spectrum.noised(alpha, sigma), self.dtype)

    def posterior(self, operator: Any, y: Any, noise: float | Tensor) -> GaussianMixture:
        """The law of x0 given y = A x0 + n: components conditioned, weights times their evidence p(y | k).

        Args:
            operator: A, `(M, D)`.
            y: `(M,)`.
            noise: of n: a standard deviation, `(M,)` standard deviations, or an `(M, M)` covariance. Positive.
        """
        operator = parameter("operator", operator, "M", self._spectrum.dim).to(self.device, torch.float64)
        y = parameter("y", y, len(operator)).to(self.device, torch.float64)
        return GaussianMixture._of(*self._condition(operator, y, noise_covariance(noise, len(y), y)), self.dtype)
