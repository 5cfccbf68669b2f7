"""The error budget: what the steps alone do to the mean and standard deviation of Gaussian data.

For data N(m, sd^2) the denoiser is linear, D = m + alpha sd^2 (x - alpha m) / (alpha^2 sd^2 + sigma^2), so whatever
a solver does is affine in where it starts and in each of its draws:

    x = p x_T + q m + sum_k r_k z_k,      std(x)^2 = (p std_T)^2 + sum_k r_k^2.

One run on impulses (a row with x_T alone, one with m alone, one for each draw) reads the numbers off, exactly. A ratio
of 1 is no bias; peers' defaults at 20 to 50 steps are 5% to 25% away. Data of several widths suffer more where they are
narrow: the ratio is the best case, not a bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule, as_time, pad_right
from scorefield.solvers.base import Solver
from scorefield.tensors import as_tensor


class Bias(NamedTuple):
    """Generated over true, of Gaussian data; 1 is exact."""

    mean: float
    std: float


def discretisation_bias(solver: Solver, schedule: Schedule, times: Tensor, *, data_std: float = 1.0) -> Bias:
    """Mean and standard deviation of what `solver` makes of N(m, data_std^2), over the true ones at times[-1].

    The start is exact, the score is exact: the steps are the only error. m is of the order of data_std for a solver
    whose step sizes depend on x; for all others the ratio of the means is the same for every m.

    Args:
        times: the grid, decreasing, `(N + 1,)`.

    Raises:
        ValueError: for a data_std that is not positive, and whatever the solver refuses of the grid.
    """
    if not 0 < data_std < math.inf:
        raise ValueError(f"data_std must be positive and finite; got {data_std}")
    times = as_time(times)
    draws: dict[int, int] = {}  # draw -> its row
    zero = torch.zeros(1, 1, device="cpu")
    _run(solver, _Gaussian(schedule, data_std, zero), times, zero, draws, record=True)
    mean = torch.zeros(2 + len(draws), 1, dtype=torch.float64, device="cpu")
    mean[1] = data_std
    start = schedule.prior(times[0], mean=mean, std=data_std)
    x = as_tensor(start.mean, dtype=torch.float64).clone()
    x[0] = start.std
    x = _run(solver, _Gaussian(schedule, data_std, mean), times, x, draws)[:, 0]
    true = schedule.prior(times[-1], mean=data_std, std=data_std)
    spread = torch.cat([x[:1], x[2:]])
    return Bias(float(x[1] / true.mean), float(spread.norm() / true.std))


class _Gaussian(Denoiser):
    """Of N(mean_i, std^2), another mean for each row."""

    def __init__(self, schedule: Schedule, std: float, mean: Tensor) -> None:
        super().__init__()
        self.schedule, self.data_std, self.mean = schedule, std, mean
        self.data_mean = mean  # which a solver may ask for

    def forward(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        mean = self.mean if rows is None else self.mean[rows]
        gain = alpha * self.data_std**2 / ((alpha * self.data_std) ** 2 + sigma**2)
        return mean + pad_right(gain, x_t) * (x_t - pad_right(alpha, x_t) * mean)


@torch.no_grad()
def _run(
    solver: Solver, denoiser: _Gaussian, times: Tensor, x: Tensor, draws: dict[int, int], *, record: bool = False
) -> Tensor:
    """The solver on `x`, draw k an impulse in row draws[k]; or, to `record`, 0, with draws filled in."""

    def normals(k: int) -> Tensor:
        z = torch.zeros_like(x)
        if record:
            draws.setdefault(k, 2 + len(draws))
        else:
            z[draws[k]] = 1.0
        return z

    state = solver.init(x)
    for step in solver.plan(denoiser, times):
        state = solver.step(denoiser, state, step, normals)
    return state.x
