"""The solver and grid `sample` takes when the user says only a number of evaluations.

What decides the error of a few steps is the variable the field is extrapolated in, where the nodes lie and what is
known of fields beforehand. `Kriging` and a grid in the angle put all of it into fifteen numbers, in units of the data's
standard deviation and about its mean, so that they do for all data and schedules. They were fitted to random two- and
64-dimensional mixtures and smoothed digits, by gradients through the sampler, for some numbers of evaluations
(`constants.py`), and are interpolated for the others. A process that begins or ends at modest noise takes the part of a
longer grid that it covers. `benchmarks/solvers.py`, `every_step.py` and `trained_solvers.py` report what is reached on
other instances.
"""

from __future__ import annotations

import bisect
import math
import operator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.schedules import Rectified, Schedule
from scorefield.solvers.base import Solver
from scorefield.solvers.constants import TABLE, Constants
from scorefield.solvers.fields import PathVelocity
from scorefield.solvers.kriging import Kriging
from scorefield.solvers.multistep import Multistep
from scorefield.tensors import as_tensor

FULL = 120.0  # the noise ratio, over data_std, that the constants were fitted from
GENTLE = 0.7  # how much smaller the first steps are where a process begins amid the data's scales, with no past to read
ITERATIONS = 8  # until the part of the grid and the constants agree
FINE = torch.linspace(0, 1, 2**12 + 1, dtype=torch.float64, device="cpu")


class Recommended(NamedTuple):
    """What `sample` runs."""

    solver: Solver
    times: Tensor  # (nfe + 1,)


def recommended(schedule: Schedule, nfe: int, *, data_std: float = 1.0) -> Recommended:
    """A deterministic multistep solver and its grid, for `nfe` network evaluations from t = 1 to t = 0.

    Args:
        schedule: of the denoiser; any, since the choice is made in sigma / (alpha data_std).
        nfe: evaluations a sample, one a step.
        data_std: of the data, in the denoiser's units.

    Raises:
        ValueError: for less than one evaluation, or a data_std that is not positive.
    """
    nfe = operator.index(nfe)  # of NumPy and torch, too
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if not data_std > 0:
        raise ValueError(f"data_std must be positive; got {data_std}")
    if nfe == 1:  # nothing is known of a sample after one look but its mean: E[x0 | x_t] itself
        solver = Multistep(order=2, field=PathVelocity(Rectified()))
        return Recommended(solver, torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu"))
    first, last = (float(schedule.noise_ratio(t)) / data_std for t in (1.0, 0.0))
    c, begin, end = constants(nfe), 0.0, 1.0
    for _ in range(ITERATIONS):
        begin, end = _part(c, first), _part(c, last)
        c = constants(round(nfe / (end - begin)))
    r = torch.linspace(0, 1, nfe + 1, dtype=torch.float64, device="cpu")
    r -= GENTLE * begin / (begin + 0.02) * r * (1 - r) ** 6
    times = _times(schedule, ratios(c, begin + (end - begin) * r), data_std)
    near = math.exp(c.log_near)
    solver = Kriging(
        near=near,
        far=near + math.exp(c.log_gap),
        width=math.exp(c.log_width),
        tail=math.exp(c.log_tail),
        amplitude=(c.amplitude_1, c.amplitude_2, c.amplitude_3, c.amplitude_4),
        nugget=math.exp(c.log_nugget),
    )
    return Recommended(solver, times)


def constants(nfe: float) -> Constants:
    """Linear in log nfe between the rows of the table; its first and last beyond them."""
    known = sorted(TABLE)
    nfe = min(max(nfe, float(known[0])), float(known[-1]))
    high = known[max(bisect.bisect_left(known, nfe), 1)]
    low = known[known.index(high) - 1]
    share = math.log(nfe / low) / math.log(high / low)
    return Constants(*((1 - share) * a + share * b for a, b in zip(TABLE[low], TABLE[high], strict=True)))


def ratios(c: Constants, r: Tensor) -> Tensor:
    """sigma / (alpha data_std) at the parts `r` of a grid from FULL, r = 0, to the data, r = 1.

    theta = atan(s / scale) falls as (1 - r^onset)^power; the bends make nodes denser or sparser than powers can say.
    """
    scale, onset, power = (as_tensor(v, dtype=torch.float64).exp() for v in (c.log_scale, c.log_onset, c.log_power))
    for k, bend in enumerate((c.bend_1, c.bend_2, c.bend_3), 1):
        r = r + bend * torch.sin(k * math.pi * r) / (k * math.pi)
    return scale * torch.tan(torch.atan(FULL / scale) * (1 - r.clamp(0, 1) ** onset) ** power)


def _part(c: Constants, ratio: float) -> float:
    """The r at which such a grid has this ratio, from a table; 0 beyond its beginning."""
    if not 0 < ratio < FULL:
        return float(ratio == 0)
    theta = torch.atan(ratios(c, FINE)).numpy()[::-1]
    return float(np.interp(math.atan(ratio), theta, FINE.numpy()[::-1]))


def _times(schedule: Schedule, ratios: Tensor, data_std: float) -> Tensor:
    """The process's times of these ratios; its ends, exactly, for the first and the last."""
    times = schedule.time_of_log_snr(-torch.log(ratios * data_std))
    times[0], times[-1] = 1.0, 0.0
    return times
