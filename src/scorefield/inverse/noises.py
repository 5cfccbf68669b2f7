"""Noise that is not Gaussian: log p(y | x0) of measurements y of a = A(x0), independent given a.

    Poisson            y ~ Poisson(gain a + background)                              counts
    PoissonGaussian    y = Poisson(a) + read_std n                                   a camera
    Student            (y - a) / scale ~ t with `df` degrees of freedom              outliers
    Rice               y = |a + std (n1 + i n2)|                                     magnitudes, as of MRI
    Gamma              y = a g, g ~ Gamma of mean 1 and variance 1 / looks           speckle: radar, ultrasound

n, n1, n2 standard normal. Rates and intensities must be positive, and a prior need not know it: below `least` their
logarithm goes on as its parabola there, which is -infinity in all but name and has a gradient that leads back. Where
nothing was counted no logarithm is in the way, so rates have (rate / least - 1)^2 / 2 taken off there as well.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from scorefield.inverse.measurement import Likelihood, take
from scorefield.inverse.operators.base import Operator

EXACT_READ_STD = 8.0  # up to which counts are summed over; beyond it the law is normal to a skewness of 0.05
REACH = 6.0  # standard deviations of a count given y, to either side


@dataclass(frozen=True, eq=False)
class _Independent(Likelihood):
    """Of B observations `y` `(B, *output_shape)` of an operator A.

    Raises:
        ValueError: for a y of another shape or not finite, or a parameter that is not positive.
    """

    operator: Operator
    y: Tensor

    def __post_init__(self) -> None:
        take(self)

    @property
    def event_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.operator.event_shape

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor) -> Self:
        return replace(self, y=self.y[index.to(self.y.device)])

    def log_prob(self, x0: Tensor) -> Tensor:
        a = self.operator(x0)
        return self._each(self.y.to(a), a).flatten(1).sum(1)

    @abc.abstractmethod
    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        """log p(y | a), number by number."""

    def _require(self, **parameters: float) -> None:
        for name, value in parameters.items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite; got {value:g}")

    def _not_negative(self) -> None:
        if not bool((self.y >= 0).all()):
            raise ValueError(f"y must not be negative; got a smallest of {float(self.y.min()):g}")


@dataclass(frozen=True, eq=False)
class Poisson(_Independent):
    """Counts: y ~ Poisson(gain A(x0) + background).

    Args:
        gain: counts for a unit of A(x0).
        background: counts that come without it, 0 or more.
        least: the rate, in counts, below which the logarithm goes on as a parabola.

    Raises:
        ValueError: for a negative y or background; a gain or `least` that is not positive.
    """

    gain: float = 1.0
    background: float = 0.0
    least: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(gain=self.gain, least=self.least)
        self._not_negative()
        if not self.background >= 0:
            raise ValueError(f"background must not be negative; got {self.background:g}")

    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        rate = self.gain * a + self.background
        return y * log_above(rate, self.least) - rate - barrier(rate, self.least) - torch.lgamma(y + 1)


@dataclass(frozen=True, eq=False)
class PoissonGaussian(_Independent):
    """Counts read out with normal noise.

        p(y | a) = sum_k Poisson(k; a) N(y; k, read_std^2),

    over the counts within six standard deviations of the likeliest. Where read_std is above 8 it is the normal law of
    the same mean and variance, N(a, a + read_std^2).

    Args:
        read_std: of the read-out, in counts.
        least: the rate, in counts, below which the logarithm goes on as a parabola.
    """

    read_std: float = 1.0
    least: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(read_std=self.read_std, least=self.least)

    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        read = self.read_std**2
        if self.read_std > EXACT_READ_STD:
            variance = a.clamp(min=self.least) + read
            return -((y - a).square() / variance + torch.log(2 * math.pi * variance)) / 2 - barrier(a, self.least)
        half = math.ceil(REACH * self.read_std) + 1
        log_a = log_above(a, self.least)
        k = _likeliest(y, log_a.detach(), read)[..., None] + torch.arange(-half, half + 1, device=y.device)
        each = k * log_a[..., None] - torch.lgamma(k.clamp(min=0) + 1) - (y[..., None] - k).square() / (2 * read)
        total = torch.logsumexp(torch.where(k < 0, -torch.inf, each), -1)
        return total - a - barrier(a, self.least) - math.log(2 * math.pi * read) / 2


def _likeliest(y: Tensor, log_a: Tensor, read: float) -> Tensor:
    """The k that y of a Poisson count of rate a most likely was, a whole number.

    Its logarithm u solves log a - u = (e^u - y) / read, concave and falling in u: Newton's method ends from anywhere.
    """
    u = torch.maximum(log_a, y.clamp(min=1.0).log())
    for _ in range(8):
        rate = torch.exp(u)
        u = u + (log_a - u - (rate - y) / read) / (1 + rate / read)
    return torch.exp(u).round()


@dataclass(frozen=True, eq=False)
class Student(_Independent):
    """Normal noise with outliers: (y - A(x0)) / scale has Student's t law.

    Args:
        scale: in the units of y; the standard deviation is scale sqrt(df / (df - 2)).
        df: degrees of freedom; the fewer, the less an outlier counts.
    """

    scale: float = 1.0
    df: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(scale=self.scale, df=self.df)

    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        half = (self.df + 1) / 2
        constant = math.lgamma(half) - math.lgamma(self.df / 2) - math.log(self.df * math.pi) / 2 - math.log(self.scale)
        return constant - half * torch.log1p(((y - a) / self.scale).square() / self.df)


@dataclass(frozen=True, eq=False)
class Rice(_Independent):
    """The magnitude of a complex number with normal noise.

        log p(y | a) = log(y / s^2) - (y - |a|)^2 / 2 s^2 + log I0e(y |a| / s^2)

    Args:
        std: s, of the real and of the imaginary part.

    Raises:
        ValueError: for a y or std that is not positive.
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(std=self.std)
        if not bool((self.y > 0).all()):
            raise ValueError(f"y must be positive; got a smallest of {float(self.y.min()):g}")

    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        size = a.abs()
        scaled = torch.special.i0e(y * size / self.std**2)
        return torch.log(y / self.std**2) - ((y - size) / self.std).square() / 2 + torch.log(scaled)


@dataclass(frozen=True, eq=False)
class Gamma(_Independent):
    """Speckle: y = A(x0) g, g ~ Gamma(looks, 1 / looks).

    Args:
        looks: how many independent views were averaged; the noise is a share 1 / sqrt(looks) of the signal.
        least: the intensity below which the logarithm goes on as a parabola.

    Raises:
        ValueError: for a y, looks or `least` that is not positive.
    """

    looks: float = 1.0
    least: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(looks=self.looks, least=self.least)
        if not bool((self.y > 0).all()):
            raise ValueError(f"y must be positive; got a smallest of {float(self.y.min()):g}")

    def _each(self, y: Tensor, a: Tensor) -> Tensor:
        looks, log_a = self.looks, log_above(a, self.least)
        constant = looks * math.log(looks) - math.lgamma(looks)
        return constant + (looks - 1) * y.log() - looks * (log_a + y * torch.exp(-log_a))


def log_above(value: Tensor, least: float) -> Tensor:
    """log(value), and below `least` the parabola that touches it there."""
    under = value / least - 1
    return torch.where(under < 0, math.log(least) + under - under.square() / 2, value.clamp(min=least).log())


def barrier(rate: Tensor, least: float) -> Tensor:
    """(rate / least - 1)^2 / 2 below `least`, else 0."""
    return (1 - rate / least).clamp(min=0.0).square() / 2
