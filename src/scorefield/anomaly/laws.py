"""From measurements to one number, higher for what is less like the reference: `law.score(features) -> (B,)`.

    Upper           f                                        one feature, of which more is more anomalous
    Typicality      |f - E f|                                one feature, too little of which is anomalous as well
    Standardised    mean_l (f_l - E f_l) / std f_l           (Graham et al. 2023)
    GaussianLaw     -log N(f; mean, covariance)              Mahalanobis's distance
    MixtureLaw      -log sum_k w_k N(f; mean_k, cov_k)       by expectation maximisation
    KernelLaw       -log (1/n) sum_i N(f; f_i, h^2 C)        C the covariance, h = n^(-1 / (L + 4)) (Scott 1992)

All but Upper learn from a reference: `fit` returns the fitted value. What they learn is affine invariant but for the
first two and the mixture's start, so features may have any units.

A datum that the model has no numbers for (a log p that is NaN or -inf, a prediction that overflows) is none it was
trained on: its score is infinite, its p-value the smallest there is, and the others' are what they are without it.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from scorefield.distributions import Empirical, Gaussian, GaussianMixture


class Law(abc.ABC):
    """A value. Its learned fields are None until it is fitted."""

    learns: ClassVar[bool] = True

    def fit(self, features: Tensor) -> Self:
        """Learns from the features `(n, L)` of reference data; those that are not finite are left out.

        Raises:
            ValueError: for fewer data than this law needs.
        """
        features = _checked(features)
        features = features[torch.isfinite(features).all(1)]
        least = self.needs(features.shape[1])
        if len(features) < least:
            raise ValueError(f"{type(self).__name__} needs at least {least} reference data; got {len(features)}")
        return replace(self, **self.learned(features))  # type: ignore[type-var]

    def score(self, features: Tensor) -> Tensor:
        """`(B,)` float64, of features `(B, L)`; infinite, more anomalous than any other, where they are not finite.

        Raises:
            ValueError: if this law is not fitted, or was fitted to another number of features.
        """
        features = _checked(features)
        if any(v is None for v in vars(self).values()):
            raise ValueError(f"{type(self).__name__} is not fitted: fit it to reference data first")
        known = torch.isfinite(features).all(1)
        scores = self.of(torch.where(known[:, None], features, 0.0))
        return torch.where(known & ~scores.isnan(), scores, math.inf)

    @abc.abstractmethod
    def learned(self, features: Tensor) -> dict[str, Any]: ...

    @abc.abstractmethod
    def of(self, features: Tensor) -> Tensor: ...

    def needs(self, size: int) -> int:
        return 2


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2:
        raise ValueError(f"features must be of shape (B, L); got {tuple(features.shape)}")
    return features.double()


def _only(features: Tensor) -> Tensor:
    if features.shape[1] != 1:
        raise ValueError(f"this law judges one feature; got {features.shape[1]}: use a density of them")
    return features[:, 0]


@dataclass(frozen=True)
class Upper(Law):
    """The feature itself.

    Raises:
        ValueError: in scoring, for more than one feature.
    """

    learns: ClassVar[bool] = False

    def fit(self, features: Tensor) -> Self:
        return self

    def learned(self, features: Tensor) -> dict[str, Any]:
        return {}

    def of(self, features: Tensor) -> Tensor:
        return _only(features)


@dataclass(frozen=True)
class Typicality(Law):
    """The distance from the reference's mean: from its entropy, where the feature is -log p.

    Raises:
        ValueError: in fitting and scoring, for more than one feature.
    """

    centre: float | None = None

    def learned(self, features: Tensor) -> dict[str, Any]:
        return {"centre": float(_only(features).mean())}

    def of(self, features: Tensor) -> Tensor:
        return (_only(features) - self.centre).abs()  # type: ignore[operator]


@dataclass(frozen=True)
class Standardised(Law):
    """The mean of the features' z-scores.

    Raises:
        ValueError: in fitting, for a feature that is constant over the reference.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def learned(self, features: Tensor) -> dict[str, Any]:
        std = features.std(0)
        if not bool((std > 0).all()):
            raise ValueError("features must vary over the reference; one of them is constant")
        return {"mean": tuple(features.mean(0).tolist()), "std": tuple(std.tolist())}

    def of(self, features: Tensor) -> Tensor:
        mean, std = (features.new_tensor(v) for v in (self.mean, self.std))
        z = (features - mean) / std
        # column by column: the same in any batch
        return sum(z.unbind(1), torch.zeros(len(z), dtype=z.dtype, device="cpu")) / z.shape[1]


Rows = tuple[tuple[float, ...], ...]


def _rows(matrix: Tensor) -> Rows:
    return tuple(tuple(row) for row in matrix.tolist())


def _covariance(features: Tensor) -> Tensor:
    size = features.shape[1]
    covariance = torch.cov(features.T).reshape(size, size)
    return covariance + 1e-9 * torch.diag(covariance.diagonal())  # positive definite after rounding; in any units


@dataclass(frozen=True)
class GaussianLaw(Law):
    """The features as one Gaussian."""

    mean: tuple[float, ...] | None = None
    covariance: Rows | None = None

    def needs(self, size: int) -> int:
        return size + 2

    def learned(self, features: Tensor) -> dict[str, Any]:
        return {"mean": tuple(features.mean(0).tolist()), "covariance": _rows(_covariance(features))}

    def of(self, features: Tensor) -> Tensor:
        law = Gaussian(*(torch.tensor(v, dtype=torch.float64, device="cpu") for v in (self.mean, self.covariance)))
        return -law.log_prob(features)


@dataclass(frozen=True)
class MixtureLaw(Law):
    """The features as a mixture of Gaussians with full covariances."""

    components: int = 3
    seed: int = 0
    weights: tuple[float, ...] | None = None
    means: Rows | None = None
    covariances: tuple[Rows, ...] | None = None

    def needs(self, size: int) -> int:
        return self.components * (size + 2)

    def learned(self, features: Tensor) -> dict[str, Any]:
        from sklearn import mixture

        scale = _covariance(features).diagonal().sqrt()  # its floor under the variances is absolute
        fitted: Any = mixture.GaussianMixture(self.components, random_state=self.seed, reg_covar=1e-6)
        fitted.fit((features / scale).numpy())
        means, covariances = torch.from_numpy(fitted.means_), torch.from_numpy(fitted.covariances_)
        return {
            "weights": tuple(fitted.weights_.tolist()),
            "means": _rows(means * scale),
            "covariances": tuple(_rows(c * scale[:, None] * scale) for c in covariances),
        }

    def of(self, features: Tensor) -> Tensor:
        parts = (
            torch.tensor(v, dtype=torch.float64, device="cpu") for v in (self.weights, self.means, self.covariances)
        )
        return -GaussianMixture(*parts).log_prob(features)


@dataclass(frozen=True)
class KernelLaw(Law):
    """A Gaussian kernel at the features of each reference datum.

    Raises:
        ValueError: in scoring, for another number of features than it was fitted to.
    """

    points: Rows | None = None

    def needs(self, size: int) -> int:
        return size + 2

    def learned(self, features: Tensor) -> dict[str, Any]:
        return {"points": _rows(features)}

    def of(self, features: Tensor) -> Tensor:
        points = torch.tensor(self.points, dtype=torch.float64, device="cpu")
        n, size = points.shape
        if features.shape[1] != size:
            raise ValueError(f"this law was fitted to {size} features; got {features.shape[1]}")
        root: Tensor = torch.linalg.cholesky(_covariance(points))
        lower: list[list[float]] = root.tolist()

        def white(f: Tensor) -> Tensor:  # column by column: the same in any batch
            columns: list[Tensor] = []
            for i, row in enumerate(lower):
                known = sum((r * c for r, c in zip(row, columns, strict=False)), torch.zeros_like(f[:, i]))
                columns.append((f[:, i] - known) / row[i])
            return torch.stack(columns, 1)

        law = Empirical(white(points), bandwidth=n ** (-1 / (size + 4)))
        return root.diagonal().log().sum() - law.log_prob(white(features))
