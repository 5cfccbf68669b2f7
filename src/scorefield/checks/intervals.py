"""What an interval owes whoever reads it: to hold the truth as often as it says.

In R repetitions an interval of level L that holds the truth with probability c does so k times, k ~ Binomial(R, c). The
check fails where k is less likely than FALSE under every c within `slack` of L: a right interval is called wrong once
in a thousand checks, and one that is off by more than `slack` is found as R grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from scorefield.checks.base import Check, listed, require, run

FALSE = 1e-3  # of the checks of right intervals that fail
Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def of_interval(
    metric: Callable[[Tensor, Tensor], Any],
    draw: Draw,
    truth: float,
    *,
    level: float = 0.9,
    repetitions: int = 100,
    slack: float = 0.02,
) -> list[Check]:
    """The clauses of `check_interval`, each by itself; the metric is evaluated once for all."""
    found: list[tuple[float, tuple[float, float], tuple[float, float]]] = []

    def results() -> list[tuple[float, tuple[float, float], tuple[float, float]]]:
        for seed in range(repetitions if not found else 0):
            one = metric(*draw(torch.Generator().manual_seed(seed)))
            found.append((float(one.value), _ends(one.interval(level)), _ends(one.interval(level / 2))))
        return found

    def ends() -> None:
        for value, (low, high), _ in results():
            require(
                math.isfinite(value) and low <= high, "an interval must have two ends, in order", (low, value, high)
            )

    def nested() -> None:
        for _, (low, high), (inner, outer) in results():
            right = low <= inner + 1e-12 and outer <= high + 1e-12
            require(right, "a lower level's interval must lie inside", ((low, high), (inner, outer)))

    def covers() -> None:
        held = sum(low <= truth <= high for _, (low, high), _ in results())
        least, most = max(level - slack, 0.0), min(level + slack, 1.0)
        few = float(stats.binom.cdf(held, repetitions, least))
        many = float(stats.binom.sf(held - 1, repetitions, most))
        require(
            min(few, many) > FALSE / 2, f"intervals of level {level:g} must hold the truth {truth:g} that often",
            f"{held} of {repetitions}",
        )  # fmt: skip

    return listed(metric, {"ends in order": ends, "nested in level": nested, "coverage": covers})


def check_interval(
    metric: Callable[[Tensor, Tensor], Any],
    draw: Draw,
    truth: float,
    *,
    level: float = 0.9,
    repetitions: int = 100,
    slack: float = 0.02,
) -> None:
    """`metric(x, y).interval(level)` holds the truth in a share of the repetitions that fits `level`.

    Args:
        metric: of two sets `(N, *event)`; what it returns has `value` and `interval(level)`, (low, high).
        draw: `draw(generator)` is a fresh pair of sets, a function of the generator alone.
        truth: of infinitely many samples.
        slack: how far the probability itself may be from `level`: intervals hold it in the limit only.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_interval(metric, draw, truth, level=level, repetitions=repetitions, slack=slack))


def _ends(interval: Sequence[Any]) -> tuple[float, float]:
    low, high = interval[0], interval[1]
    return float(low), float(high)
