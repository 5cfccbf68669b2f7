"""A number with what is needed to believe it: its interval, its floor, and a p-value where the null is the question.

A statistic S of samples is compared with three things:

    interval(level)   holds what S estimates: of 100 intervals at level 0.9 about 90 do
    floor             E S(real, real'), real against other real data of the same sizes: what a perfect model would score
    p_value           P(S this large | no difference), where `no difference` is the question

An interval is for two laws that differ. At the null the first-order variance of most distances is 0 and no interval
built on it holds; there the p-value answers. All three are computed when asked for, with draws of a seed of their own,
so that a cheap number stays cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scipy import stats

Bounds = Callable[[float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evidence:
    """What every metric returns; `float(e)` is `e.value`.

    Args:
        name: of the metric.
        value: the statistic of the samples, by the formula that others print.
        n: sizes of the sets it is of.
        bounds: `bounds(level)` is the interval.
        features: what the samples were turned into first, name and hash; "raw" where they were not.
        limit: the value without the bias of the sizes, where that is another number: what the interval is about.
        null: the mean of the statistic of real against real, and the sizes it was had at.
        p: the p-value.
    """

    name: str
    value: float
    n: tuple[int, ...]
    bounds: Bounds
    features: str = "raw"
    limit: Callable[[], float] | None = None
    null: Callable[[], tuple[float, tuple[int, ...]]] | None = None
    p: Callable[[], float] | None = None

    def __float__(self) -> float:
        return self.value

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """(low, high), which holds what is estimated in a share `level` of cases; see the metric for which and why.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level:g}")
        low, high = self.bounds(level)
        return float(low), float(high)

    @cached_property
    def extrapolated(self) -> float:
        """The value at infinite samples; `value` itself where it has no bias, or where none can be taken off."""
        return self.value if self.limit is None else float(self.limit())

    @property
    def floor(self) -> float:
        """The mean of the same statistic of real against real; NaN where there is none."""
        return self._null[0]

    @property
    def floor_n(self) -> tuple[int, ...]:
        """Sizes the floor was had at: `n`, or as near to it in the same ratio as there were real data for."""
        return self._null[1]

    @cached_property
    def _null(self) -> tuple[float, tuple[int, ...]]:
        return (math.nan, self.n) if self.null is None else self.null()

    @cached_property
    def p_value(self) -> float:
        """The probability of a value as extreme where there is no difference; NaN where no test is stated."""
        return math.nan if self.p is None else float(self.p())

    def summary(self, level: float = 0.9) -> dict[str, Any]:
        """Everything, as plain values for JSON; what is not a number is None."""
        low, high = self.interval(level)
        numbers = {
            "value": self.value, "low": low, "high": high, "level": level, "extrapolated": self.extrapolated,
            "floor": self.floor, "p_value": self.p_value,
        }  # fmt: skip
        plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"metric": self.name, **plain, "n": list(self.n), "features": self.features}

    def __str__(self) -> str:
        low, high = self.interval()
        parts = [f"{self.name} {self.value:.4g}", f"90% [{low:.4g}, {high:.4g}]"]
        if self.limit is not None:
            parts[1] += f" about {self.extrapolated:.4g} at infinite samples"
        if self.null is not None:
            at = "" if self.floor_n == self.n else f" at {_sizes(self.floor_n)}"
            parts.append(f"floor {self.floor:.4g}{at}")
        return ", ".join([*parts, f"n = {_sizes(self.n)}", f"features {self.features}"])

    def __repr__(self) -> str:
        return f"Evidence({self.name!r}, value={self.value:.6g}, n={self.n}, features={self.features!r})"


def _sizes(n: tuple[int, ...]) -> str:
    return " and ".join(map(str, n))


def normal(
    centre: float, error: float, *, low: float = -math.inf, high: float = math.inf, degrees: float = math.inf
) -> Bounds:
    """centre -+ t error, Student's t of the given degrees of freedom, cut to [low, high]."""

    def bounds(level: float) -> tuple[float, float]:
        half = float(stats.t.isf((1 - level) / 2, degrees)) * error
        return tuple(min(max(centre + side * half, low), high) for side in (-1, 1))  # type: ignore[return-value]

    return bounds


def rooted(bounds: Bounds, order: float) -> Bounds:
    """The interval of S^(1 / order) where `bounds` is that of S: a monotone map keeps what it holds."""
    return lambda level: tuple(max(end, 0.0) ** (1 / order) for end in bounds(level))  # type: ignore[return-value]


def share(value: float, error: float, n: int, *, at: float | None = None, degrees: float = math.inf) -> Bounds:
    """The interval of a share, by Wilson's formula with the sample size that `error` stands for.

    A share v with standard error e is that of v (1 - v) / e^2 independent draws, at most n. Wilson's interval stays
    inside [0, 1] and has a width at 0 and at 1.

    Args:
        at: the share that has that error; `value` unless given.
    """
    v = value if at is None else at
    effective = min(v * (1 - v) / error**2, n) if error > 0 and 0 < v < 1 else n

    def bounds(level: float) -> tuple[float, float]:
        z2 = float(stats.t.isf((1 - level) / 2, degrees)) ** 2 / effective
        middle = (value + z2 / 2) / (1 + z2)
        half = math.sqrt(z2 * (value * (1 - value) + z2 / 4)) / (1 + z2)
        return max(middle - half, 0.0), min(middle + half, 1.0)

    return bounds
