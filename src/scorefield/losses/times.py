"""Time laws: which noise levels a loss looks at.

A law is its quantile function t = Q(u), u uniform on (0, 1), and its density p(t). A loss averaged under a law is the
integral of p(t) weight(t) E||D - x0||^2 over t: weight and law are one product, and dividing by the density turns one
law's average into another's (importance sampling).
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from scorefield.randomness import Randomness, spread_uniforms, uniforms
from scorefield.schedules import Schedule, as_time, derivative
from scorefield.tensors import as_tensor


class TimeLaw(abc.ABC):
    """A law on [0, 1]; subclasses give `quantile` and `density`, float64 on the CPU, elementwise."""

    @abc.abstractmethod
    def quantile(self, u: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def density(self, t: Tensor) -> Tensor: ...

    def sample(self, n: int, generator: Randomness = None) -> Tensor:
        """`n` independent times, `(n,)`, float64 on the CPU."""
        return self.quantile(uniforms(n, generator))


@dataclass(frozen=True)
class Uniform(TimeLaw):
    """Equal density on [t_min, t_max]. `t_min` keeps off t = 0, where scores and some targets are infinite.

    Raises:
        ValueError: unless 0 <= t_min < t_max <= 1.
    """

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

    Raises:
        ValueError: for a std that is not positive or a mean that is not finite; in use, for a schedule whose noise
            ratios lie beyond 8 std.
    """

    schedule: Schedule
    mean: float = -1.2
    std: float = 1.2
    _range: tuple[float, float] = field(init=False, repr=False, compare=False)
    _time: _Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.std > 0 and math.isfinite(self.mean)):
            raise ValueError(f"LogNormal: std must be positive and mean finite; got {self.std} and {self.mean}")
        ends = -self.schedule.log_snr(torch.tensor([1e-12, 1.0], dtype=torch.float64, device="cpu"))
        low, high = max(float(ends[0]), self.mean - 8 * self.std), min(float(ends[1]), self.mean + 8 * self.std)
        if not low < high:
            raise ValueError(
                f"LogNormal: the schedule's log(sigma / alpha), {float(ends[0]):.3g} to {float(ends[1]):.3g}, "
                f"must overlap mean +- 8 std; got mean {self.mean}, std {self.std}"
            )
        object.__setattr__(self, "_range", (low, high))
        object.__setattr__(self, "_time", _Table.of(self.schedule, low, high))

    def quantile(self, u: Tensor) -> Tensor:
        low, high = self._range
        a, b = self._cdf(low), self._cdf(high)
        log_s = self.mean + self.std * torch.special.ndtri(a + (b - a) * u)
        return self._time(log_s)

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
class UniformAngle(TimeLaw):
    """theta = atan(sigma / (alpha data_std)) uniform over what the process covers: what flow maps learn along.

    Raises:
        ValueError: for a data_std that is not positive.
    """

    schedule: Schedule
    data_std: float = 1.0

    def __post_init__(self) -> None:
        if not self.data_std > 0:
            raise ValueError(f"UniformAngle: data_std must be positive; got {self.data_std}")

    @property
    def _limit(self) -> float:
        return math.atan(float(self.schedule.noise_ratio(1.0)) / self.data_std)

    def quantile(self, u: Tensor) -> Tensor:
        s = self.data_std * torch.tan(self._limit * u)
        return self.schedule.time_of_log_snr(-torch.log(s))

    def density(self, t: Tensor) -> Tensor:
        """(dtheta / dt) / limit = sin(2 theta) dlog s/dt / (2 limit)."""
        t = as_time(t)
        theta = torch.atan(self.schedule.noise_ratio(t) / self.data_std)
        return -torch.sin(2 * theta) / 2 * derivative(self.schedule.log_snr, t) / self._limit


@dataclass(frozen=True)
class LogitNormal(TimeLaw):
    """log(t / (1 - t)) ~ N(mean, std^2): rectified flow's law, most of it in the middle (Esser et al. 2024).

    Raises:
        ValueError: for a std that is not positive, or a mean that is not finite.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not (self.std > 0 and math.isfinite(self.mean)):
            raise ValueError(f"LogitNormal: std must be positive and mean finite; got {self.std} and {self.mean}")

    def quantile(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))

    def density(self, t: Tensor) -> Tensor:
        """N(logit t; mean, std^2) / (t (1 - t)), 0 at the ends."""
        t = as_time(t)
        z = (torch.logit(t) - self.mean) / self.std
        inside = (t > 0) & (t < 1)
        return torch.where(inside, torch.exp(-(z**2) / 2) / (self.std * math.sqrt(2 * math.pi) * t * (1 - t)), 0.0)


@dataclass(frozen=True)
class Importance(TimeLaw):
    """Density proportional to g^2 / sigma^2 on [t_min, t_max] (Song et al. 2021b, section 5.1).

    As g^2 / sigma^2 = -2 dlambda/dt, it is the law that is uniform in the log-SNR. Under it the likelihood's weight
    turns into a constant times DDPM's: g^2 / 2 ||score error||^2 / p = Z/2 ||eps_hat - eps||^2, Z = 2 (lambda(t_min) -
    lambda(t_max)), which varies far less.

    Raises:
        ValueError: unless 0 <= t_min < t_max <= 1; in use, for a schedule whose log-SNR is infinite at either.
    """

    schedule: Schedule
    t_min: float = 1e-5
    t_max: float = 1.0
    _range: tuple[float, float] = field(init=False, repr=False, compare=False)
    _time: _Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < self.t_max <= 1:
            raise ValueError(f"Importance: 0 <= t_min < t_max <= 1 is required; got {self.t_min} and {self.t_max}")
        low, high = (
            -self.schedule.log_snr(torch.tensor([self.t_min, self.t_max], dtype=torch.float64, device="cpu"))
        ).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"Importance: log(sigma / alpha) must be finite at t_min and t_max; got {low:g} at {self.t_min:g} and "
                f"{high:g} at {self.t_max:g}"
            )
        object.__setattr__(self, "_range", (low, high))
        object.__setattr__(self, "_time", _Table.of(self.schedule, low, high))

    def quantile(self, u: Tensor) -> Tensor:
        low, high = self._range
        return torch.clamp(self._time(low + (high - low) * u), self.t_min, self.t_max)

    def density(self, t: Tensor) -> Tensor:
        """-lambda'(t) / (lambda(t_min) - lambda(t_max))."""
        t = as_time(t)
        low, high = self._range
        inside = (t >= self.t_min) & (t <= self.t_max)
        return torch.where(inside, -derivative(self.schedule.log_snr, t) / (high - low), 0.0)


@dataclass(frozen=True)
class Ladder(TimeLaw):
    """Finitely many times, equally likely unless `probabilities` are given: NCSN's levels, DDPM's steps.

    `density` is here the probability of t, and 0 off the ladder: it may stand against another Ladder's, not against a
    continuous law's.

    Raises:
        ValueError: for times that are not distinct and in [0, 1], at least one, or probabilities that are not one for
            each and of sum 1.
    """

    times: Sequence[float]
    probabilities: Sequence[float] | None = None

    def __post_init__(self) -> None:
        times = tuple(float(t) for t in self.times)
        if not times or any(not 0 <= t <= 1 for t in times) or len(set(times)) < len(times):
            raise ValueError(f"Ladder: times must be distinct and lie in [0, 1], at least one; got {times}")
        given = [1 / len(times)] * len(times) if self.probabilities is None else self.probabilities
        mass = tuple(float(p) for p in given)
        if len(mass) != len(times) or min(mass) < 0 or abs(sum(mass) - 1) > 1e-6:
            raise ValueError(f"Ladder: {len(times)} probabilities that sum to 1 are needed; got {mass}")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "probabilities", mass)

    @classmethod
    def steps(cls, count: int) -> Self:
        """t = (k + 1) / K for DDPM's steps k = 0..K-1."""
        return cls([(k + 1) / count for k in range(count)])

    @classmethod
    def geometric(cls, schedule: Schedule, first: float, last: float, levels: int) -> Self:
        """The times of noise ratios s_i = first (last / first)^((i - 1) / (L - 1)), i = 1..L (Song & Ermon 2019).

        Raises:
            ValueError: for less than two levels, or an end that is not positive.
        """
        if levels < 2 or not (first > 0 and last > 0):
            raise ValueError(
                f"Ladder.geometric: two positive ends and at least 2 levels are needed; got {first}, {last}, {levels}"
            )
        log_s = torch.linspace(math.log(first), math.log(last), levels, dtype=torch.float64, device="cpu")
        return cls(schedule.time_of_log_snr(-log_s).tolist())

    def quantile(self, u: Tensor) -> Tensor:
        edges = torch.tensor(self.probabilities, dtype=torch.float64, device="cpu").cumsum(0)
        rung = torch.searchsorted(edges, u.contiguous(), right=True).clamp(max=len(edges) - 1)
        return torch.tensor(self.times, dtype=torch.float64, device="cpu")[rung]

    def density(self, t: Tensor) -> Tensor:
        times, mass = (torch.tensor(v, dtype=torch.float64, device="cpu") for v in (self.times, self.probabilities))
        return ((as_time(t)[..., None] == times) * mass).sum(-1)


@dataclass(frozen=True)
class Stratified(TimeLaw):
    """The same law with one time in each n-th of its probability, in random order.

    Each t has the law's distribution; only together are they evenly spread, which takes the choice of t out of the
    variance of a batch's mean. From a Stream the times are points of one evenly spread sequence, a function of the
    sample's index alone, so that two processes share the strata without a word.
    """

    law: TimeLaw

    def quantile(self, u: Tensor) -> Tensor:
        return self.law.quantile(u)

    def density(self, t: Tensor) -> Tensor:
        return self.law.density(t)

    def sample(self, n: int, generator: Randomness = None) -> Tensor:
        return self.quantile(spread_uniforms(n, generator))


@dataclass(frozen=True)
class _Table:
    """t as a function of log(sigma / alpha) on [low, high]; a value, so that laws can be pickled."""

    low: float
    high: float
    curve: PchipInterpolator

    @classmethod
    def of(cls, schedule: Schedule, low: float, high: float) -> Self:
        # One inversion of the schedule, then a table: a bisection at each step would take longer than a small network.
        log_s = torch.linspace(low, high, 4096, dtype=torch.float64, device="cpu")
        return cls(low, high, PchipInterpolator(log_s.numpy(), schedule.time_of_log_snr(-log_s).numpy()))

    def __call__(self, log_s: Tensor) -> Tensor:
        t = self.curve(torch.clamp(log_s, self.low, self.high).numpy())
        return torch.clamp(as_tensor(np.asarray(t)), 0.0, 1.0)
