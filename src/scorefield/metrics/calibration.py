"""Is a posterior right, and does it know how wrong it is?

Draw a truth from the prior, a measurement from the truth, and samples from the claimed posterior. If the claim is
right, truth and samples are exchangeable given the measurement: for any statistic T, that may look at the measurement,

    rank of T(truth) among T(sample_1), ..., T(sample_n)   is uniform on {0, ..., n}.

Each check here is a choice of T:

    `sbc`        an entry of the event, or a function of it                    (Cook et al. 2006, Talts et al. 2018)
    `coverage`   the same, read as: how often does the central L interval hold the truth?
    `tarp`       minus the distance to a reference point                       (Lemos et al. 2023)

None proves a posterior right, and what each cannot see is part of it: the *prior*, handed out as the posterior of every
measurement, passes `sbc`, `coverage`, and `tarp` with references that do not know the measurement. With references made
of the measurement it fails `tarp`.

All numbers come with the probability of something as bad by chance, or with an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from scorefield.randomness import Noise

LEVELS = (0.5, 0.8, 0.9, 0.95)


class Ranks(NamedTuple):
    """Ranks of truths among samples, one statistic a column."""

    ranks: Tensor  # (B, S) int64 in {0, ..., n}
    samples: int  # n
    p_values: Tensor  # (S,) float64: of ranks as far from uniform, in either direction, if they were uniform

    @property
    def p_value(self) -> float:
        """Of the smallest of the `p_values`, corrected for their number (Bonferroni)."""
        return min(1.0, float(self.p_values.min()) * len(self.p_values))

    def ecdf(self, column: int = 0) -> tuple[Tensor, Tensor]:
        """(u, share of ranks at or below u n), for u = 0, 1/n, ..., 1."""
        counts = torch.bincount(self.ranks[:, column], minlength=self.samples + 1)
        return torch.linspace(0, 1, self.samples + 1, dtype=torch.float64, device="cpu"), counts.cumsum(
            0
        ).double() / len(self.ranks)


class Coverage(NamedTuple):
    """How often central intervals hold the truth."""

    levels: Tensor  # (L,)
    rates: Tensor  # (L,) over observations and entries
    stderr: Tensor  # (L,) over observations: the entries of one are not independent

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """(low, high) of the rates, `(L,)` each."""
        half = float(stats.norm.ppf((1 + level) / 2)) * self.stderr
        return self.rates - half, self.rates + half


def sbc(
    truth: Tensor, samples: Tensor, statistics: Callable[[Tensor], Tensor] | None = None, *, seed: int = 0
) -> Ranks:
    """Simulation-based calibration: ranks of the truths `(B, *event)` among `samples` `(B, n, *event)`.

    Equal values, as of discrete data, are put in random order.

    Args:
        statistics: takes `(N, *event)` to `(N, S)` or `(N,)`; every entry of the event unless given.

    Raises:
        ValueError: for truth and samples of shapes that do not fit, or not finite.
    """
    _check(truth, samples)
    batch, n = samples.shape[:2]
    statistics = statistics or (lambda x: x.reshape(len(x), -1))
    own = statistics(truth).reshape(batch, -1)
    others = statistics(samples.flatten(0, 1)).reshape(batch, n, -1)
    return _ranked(own, others, seed)


def tarp(truth: Tensor, samples: Tensor, references: Tensor | None = None, *, seed: int = 0) -> Ranks:
    """Tests of accuracy with random points: the rank of the truth by nearness to a reference point.

    The share of samples nearer to the reference than the truth is the level of the smallest ball around it that holds
    the truth; over observations it is uniform.

    Args:
        truth: `(B, *event)`.
        samples: `(B, n, *event)`.
        references: `(B, *event)`. Made of the measurement (a crude reconstruction plus noise, say), they can tell a
            posterior from a prior; unless given they are uniform within the truths' range, entry by entry, and cannot.

    Raises:
        ValueError: for truth, samples and references of shapes that do not fit, or not finite.

    References:
        Lemos et al. 2023, Sampling-based accuracy testing of posterior estimators.
    """
    _check(truth, samples)
    batch, n = samples.shape[:2]
    flat, others = truth.reshape(batch, -1).double(), samples.reshape(batch, n, -1).double()
    low, high = flat.amin(0), flat.amax(0)
    unit = torch.where(high > low, high - low, 1.0)
    if references is None:
        points = low + unit * _uniform(seed, flat)
    elif references.shape != truth.shape:
        raise ValueError(
            f"references must have the shape of truth, {tuple(truth.shape)}; got {tuple(references.shape)}"
        )
    else:
        points = references.reshape(batch, -1).double()
    own = ((flat - points) / unit).square().sum(1, keepdim=True)
    theirs = ((others - points[:, None]) / unit).square().sum(2, keepdim=True)
    return _ranked(own, theirs, seed)


def coverage(truth: Tensor, samples: Tensor, levels: Sequence[float] | None = None) -> Coverage:
    """How often the central interval of each level, entry by entry, holds the truth.

    The interval of level L leaves (1 - L)/2 of the law on each side. With n samples it runs between order statistics i
    and n + 1 - i, and holds a truth from the same law with probability (n + 1 - 2 i)/(n + 1), not L; between the two
    nearest i the rate is interpolated, so a right posterior scores L, for every n.

    Args:
        truth: `(B, *event)`.
        samples: `(B, n, *event)`.
        levels: at most (n - 1)/(n + 1): n samples know no wider interval. Those of 0.5, 0.8, 0.9 and 0.95 that are,
            unless given.

    Raises:
        ValueError: for truth and samples of shapes that do not fit, or not finite; for a level that n samples know no
            interval of.
    """
    _check(truth, samples)
    n = samples.shape[1]
    levels = [level for level in LEVELS if level <= (n - 1) / (n + 1)] if levels is None else levels
    below, above = (samples < truth[:, None]).sum(1), (samples > truth[:, None]).sum(1)
    depth = torch.minimum(below, above).reshape(len(truth), -1)  # order statistics up to it leave the truth inside
    rates, errors = [], []
    for level in levels:
        if not 0 < level <= (n - 1) / (n + 1):
            raise ValueError(
                f"levels must lie in (0, (n - 1)/(n + 1)], {(n - 1) / (n + 1):.3g} for n = {n} samples; got {level}"
            )
        i = (1 - level) * (n + 1) / 2
        part = i - math.floor(i)
        inside = torch.lerp(_held(depth, math.floor(i)), _held(depth, math.floor(i) + 1), part).mean(1)
        rates.append(inside.mean())
        errors.append(
            inside.std() / math.sqrt(len(inside)) if len(inside) > 1 else torch.tensor(math.nan, device="cpu").double()
        )
    if not rates:
        raise ValueError(f"levels must not be empty: {n} samples know no interval of {LEVELS[0]}; take at least 3")
    return Coverage(torch.tensor(levels, dtype=torch.float64, device="cpu"), torch.stack(rates), torch.stack(errors))


def uniform_band(observations: int, u: Tensor, *, level: float = 0.95, seed: int = 0) -> Tensor:
    """Half width of a band around the ECDF of uniform ranks that all of it stays in with probability `level`.

    It is proportional to the standard deviation sqrt(u (1 - u) / B), by the quantile over 2,000 simulations of the
    largest standardised deviation on the grid `u` `(L,)`.

    References:
        Säilynoja et al. 2022, Graphical test for discrete uniformity.
    """
    std = torch.sqrt(u * (1 - u) / observations)
    inner = std > 0
    draws = _uniform(seed, torch.empty(2000, observations, device="cpu")).sort(1).values
    share = torch.searchsorted(draws, u[inner].expand(2000, -1).contiguous(), right=True).double() / observations
    worst = ((share - u[inner]).abs() / std[inner]).amax(1)
    return torch.quantile(worst, level) * std


def _held(depth: Tensor, i: int) -> Tensor:
    """Whether the interval between order statistics i and n + 1 - i holds the truth; i = 0 is the whole line."""
    return (depth >= i).double()


def _ranked(own: Tensor, others: Tensor, seed: int) -> Ranks:
    """`own` `(B, S)` among `others` `(B, n, S)`."""
    n = others.shape[1]
    below, equal = (others < own[:, None]).sum(1), (others == own[:, None]).sum(1)
    ranks = below + (_uniform(seed, equal) * (equal + 1)).long()
    return Ranks(ranks, n, torch.stack([_uniformity(column, n) for column in ranks.T.cpu()]))


def _uniformity(ranks: Tensor, n: int) -> Tensor:
    """p-value of a Kolmogorov-Smirnov test of (rank + w) / (n + 1), w evenly spread (a golden-ratio sequence)."""
    order = torch.arange(len(ranks), dtype=torch.float64, device="cpu")
    spread = (order * (math.sqrt(5) - 1) / 2) % 1
    return torch.tensor(
        float(stats.kstest(((ranks + spread) / (n + 1)).numpy(), "uniform").pvalue), device="cpu"
    ).double()


def _uniform(seed: int, like: Tensor) -> Tensor:
    """Of the shape of `like`. Not torch's generator: a user's truths may come from the same seed."""
    index = torch.arange(len(like), device=like.device)
    return Noise(seed, index, tuple(like.shape[1:]), torch.float64).uniform(0)


def _check(truth: Tensor, samples: Tensor) -> None:
    if samples.ndim < 2 or samples.shape[1] < 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        raise ValueError(
            f"samples must be (B, n, *event) beside truth (B, *event); got {tuple(samples.shape)} "
            f"and {tuple(truth.shape)}"
        )
    if not len(truth) or not bool(torch.isfinite(truth).all() & torch.isfinite(samples).all()):
        raise ValueError("truth and samples must be finite and of at least one observation")
