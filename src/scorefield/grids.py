"""Grids of times: `(N + 1,)` decreasing float64, from noise to data; N is the number of steps.

A grid says where a solver looks, nothing else. Those in log-SNR or in s = sigma / alpha cannot begin or end at an
infinite value, so they run between two noise ratios, from `s_max` to `s_min`, and then take one last step to t = 0,
where the step is x_s = E[x0 | x_t]; a process that is noisier than `s_min` at t = 0 already has no such step. The
defaults suit data of unit standard deviation; multiply them by another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scorefield.schedules import Discrete, Schedule

S_MIN, S_MAX = 2e-3, 1e3


def _unit(steps: int) -> Tensor:
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64, device="cpu")


def uniform(steps: int, *, t_max: float = 1.0, t_min: float = 0.0) -> Tensor:
    """Equal steps in t from `t_max` to `t_min`.

    Raises:
        ValueError: for less than one step.
    """
    return t_min + (t_max - t_min) * _unit(steps)


def quadratic(steps: int, *, t_max: float = 1.0) -> Tensor:
    """t = t_max (1 - i/N)^2: finer near the data (Song et al. 2021a's quadratic sub-sequence).

    Raises:
        ValueError: for less than one step.
    """
    return t_max * _unit(steps) ** 2


def uniform_log_snr(schedule: Schedule, steps: int, *, s_max: float = S_MAX, s_min: float = S_MIN) -> Tensor:
    """Equal steps in lambda = -log s from min(s_max, s(1)) to s_min, a geometric ladder, then one to t = 0.

    Raises:
        ValueError: for less than one step, or an s_min that is not below the largest noise ratio.
    """
    low, high = _ends(schedule, s_max, s_min)
    return _to_times(schedule, low.log() + (high / low).log() * _inner(schedule, steps, low))


def karras(schedule: Schedule, steps: int, *, rho: float = 7.0, s_max: float = S_MAX, s_min: float = S_MIN) -> Tensor:
    """Equal steps in s^(1/rho) from min(s_max, s(1)) to s_min, then one to t = 0 (Karras et al. 2022, eq. 5).

    Raises:
        ValueError: for less than one step, or an s_min that is not below the largest noise ratio.
    """
    low, high = _ends(schedule, s_max, s_min)
    roots = low ** (1 / rho) + (high ** (1 / rho) - low ** (1 / rho)) * _inner(schedule, steps, low)
    return _to_times(schedule, rho * roots.log())


def angular(
    schedule: Schedule,
    steps: int,
    *,
    power: float = 1.9,
    scale: float = 2.0,
    onset: float = 1.2,
    s_max: float = math.inf,
    s_min: float = 0.0,
) -> Tensor:
    """theta = atan(s / scale) falls as (1 - (i/N)^onset)^power from its value at t = 1 to that at t = 0, 0 as a rule.

    In the angle of scale = data_std Gaussian data turn at a constant rate from noise to data: what remains to resolve
    of other data lies near theta = 0, the more the larger the power, and where they are far from round, as pictures
    are, at the beginning too: a larger onset steps more gently there. The defaults, for data of unit standard
    deviation, lie in the flat optimum of most deterministic solvers at 5 to 50 steps (docs/choosing-a-solver.md).
    `s_max` and `s_min` are where it begins and ends, if the process goes further.

    Raises:
        ValueError: for less than one step, a power, scale or onset that is not positive, or an s_min that is not below
            the largest noise ratio.
    """
    if not (power > 0 and scale > 0 and onset > 0):
        raise ValueError(f"power, scale and onset must be positive; got {power}, {scale} and {onset}")
    low, high = _ends(schedule, s_max, s_min)
    start, end = torch.atan(high / scale), torch.atan(low / scale)
    theta = end + (start - end) * (1 - _unit(steps).flip(0) ** onset) ** power
    times = schedule.time_of_log_snr(-torch.log(scale * torch.tan(theta)))
    if bool(high == schedule.noise_ratio(1.0)):
        times[0] = 1.0
    if bool(low == schedule.noise_ratio(0.0)):
        times[-1] = 0.0
    return times


def ddpm(schedule: Discrete, steps: int, *, spacing: str = "trailing") -> Tensor:
    """A sub-sequence of a DDPM chain of K steps, then t = 0.

    `leading`: k = 0, r, 2r, ... with r = K // steps (as first published; never visits the last step, so t = 1 is
    missed); `trailing`: k = K - 1, K - 1 - K/steps, ...; `linspace`: evenly between the two ends, both visited.

    Raises:
        ValueError: for a number of steps outside 1 .. K, or another spacing.
    """
    k = schedule.steps
    if not 1 <= steps <= k:
        raise ValueError(f"steps must lie in [1, {k}], the length of the chain; got {steps}")
    index = torch.arange(steps, dtype=torch.float64, device="cpu")
    spacings = {
        "leading": (index * (k // steps)).flip(0),
        "trailing": torch.round(k - index * k / steps) - 1,
        "linspace": torch.round(torch.linspace(0, k - 1, steps, dtype=torch.float64, device="cpu")).flip(0),
    }
    if spacing not in spacings:
        raise ValueError(f"spacing must be one of {', '.join(spacings)}; got {spacing!r}")
    return torch.cat([(spacings[spacing] + 1) / k, torch.zeros(1, dtype=torch.float64, device="cpu")])


def _inner(schedule: Schedule, steps: int, low: Tensor) -> Tensor:
    """1 -> 0 in `steps` points: the last of the N + 1 is kept for t = 0, where `low` may be already."""
    if bool(low <= schedule.noise_ratio(0.0)):
        return _unit(steps)[:-1]
    return _unit(steps - 1) if steps > 1 else torch.ones(1, dtype=torch.float64, device="cpu")


def _ends(schedule: Schedule, s_max: float, s_min: float) -> tuple[Tensor, Tensor]:
    high = schedule.noise_ratio(1.0).clamp(max=s_max)
    low = schedule.noise_ratio(0.0).clamp(min=s_min)
    if not low < high:
        raise ValueError(
            f"s_min must be below the largest noise ratio of the grid, {float(high):g}; got {float(low):g}"
        )
    return low, high


def _to_times(schedule: Schedule, log_s: Tensor) -> Tensor:
    return torch.cat([schedule.time_of_log_snr(-log_s), torch.zeros(1, dtype=torch.float64, device="cpu")])
