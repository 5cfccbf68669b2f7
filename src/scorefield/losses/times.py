"""Time laws: which noise levels a loss looks at.

A law is its quantile function t = Q(u), u uniform on (0, 1), and its density p(t). A loss averaged under a law is the
integral of p(t) weight(t) E||D - x0||^2 over t: weight and law are one product, and dividing by the density turns one
law's average into another's (importance sampling).
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from scorefield.schedules import Schedule, as_time, derivative


class TimeLaw(abc.ABC):
    """A law on [0, 1]; subclasses give `quantile` and `density`, float64 on the CPU, elementwise."""

    @abc.abstractmethod
    def quantile(self, u: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def density(self, t: Tensor) -> Tensor: ...

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent times, `(n,)`, float64 on the CPU."""
        return self.quantile(_uniforms(n, generator))


def _uniforms(n: int, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else "cpu"
    return torch.rand(n, dtype=torch.float64, device=device, generator=generator).cpu()


@dataclass(frozen=True)
class Uniform(TimeLaw):
    """Equal density on [t_min, t_max]. `t_min` keeps off t = 0, where scores and some targets are infinite."""

    t_min: float = 1e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < self.t_max <= 1:
            raise ValueError(f"Uniform: 0 <= t_min < t_max <= 1 is required; got {self.t_min} and {self.t_max}")

    def quantile(self, u: Tensor) -> Tensor:
        return self.t_min + (self.t_max - self.t_min) * u

    def density(self, t: Tensor) -> Tensor:
        inside = (t >= self.t_min) & (t <= self.t_max)
        return inside.to(torch.float64) / (self.t_max - self.t_min)


@dataclass(frozen=True)
class LogNormal(TimeLaw):
    """log s ~ N(mean, std^2) for the noise ratio s = sigma / alpha, truncated to the schedule's range of s.

    Karras et al. 2022 train with mean -1.2 and std 1.2 on data of standard deviation 0.5; for data of standard
    deviation sd the same law is `mean = log(sd) - 0.5`.
    """

    schedule: Schedule
    mean: float = -1.2
    std: float = 1.2
    _range: tuple[float, float] = field(init=False, repr=False, compare=False)
    _time: PchipInterpolator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.std > 0 and math.isfinite(self.mean)):
            raise ValueError(f"LogNormal: std must be positive and mean finite; got {self.std} and {self.mean}")
        ends = -self.schedule.log_snr(torch.tensor([1e-12, 1.0], dtype=torch.float64))
        low, high = max(float(ends[0]), self.mean - 8 * self.std), min(float(ends[1]), self.mean + 8 * self.std)
        if not low < high:
            raise ValueError(
                f"LogNormal: the schedule's log(sigma / alpha), {float(ends[0]):.3g} to {float(ends[1]):.3g}, "
                f"must overlap mean +- 8 std; got mean {self.mean}, std {self.std}"
            )
        # One inversion of the schedule, then a table: a bisection at each step would take longer than a small network.
        log_s = torch.linspace(low, high, 4096, dtype=torch.float64)
        t = self.schedule.time_of_log_snr(-log_s)
        object.__setattr__(self, "_range", (low, high))
        object.__setattr__(self, "_time", PchipInterpolator(log_s.numpy(), t.numpy()))

    def quantile(self, u: Tensor) -> Tensor:
        low, high = self._range
        a, b = self._cdf(low), self._cdf(high)
        log_s = self.mean + self.std * torch.special.ndtri(a + (b - a) * u)
        t = self._time(np.clip(log_s.numpy(), low, high))
        return torch.from_numpy(np.clip(t, 0.0, 1.0))

    def density(self, t: Tensor) -> Tensor:
        """p(log s) |dlog s / dt|."""
        t = as_time(t)
        low, high = self._range
        log_s = -self.schedule.log_snr(t)
        normal = torch.exp(-(((log_s - self.mean) / self.std) ** 2) / 2) / (self.std * math.sqrt(2 * math.pi))
        inside = (log_s >= low) & (log_s <= high)
        slope = -derivative(self.schedule.log_snr, t)
        return torch.where(inside, normal * slope / (self._cdf(high) - self._cdf(low)), 0.0)

    def _cdf(self, log_s: float) -> float:
        return math.erfc(-(log_s - self.mean) / (self.std * math.sqrt(2))) / 2


@dataclass(frozen=True)
class Stratified(TimeLaw):
    """The same law with one time in each n-th of its probability, in random order.

    Each t has the law's distribution; only together are they evenly spread, which takes the choice of t out of the
    variance of a batch's mean.
    """

    law: TimeLaw

    def quantile(self, u: Tensor) -> Tensor:
        return self.law.quantile(u)

    def density(self, t: Tensor) -> Tensor:
        return self.law.density(t)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        device = generator.device if generator is not None else "cpu"
        order = torch.randperm(n, generator=generator, device=device).cpu()
        return self.quantile((order + _uniforms(n, generator)) / max(n, 1))
