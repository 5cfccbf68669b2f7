"""Where x_t starts given y, where the process ends at noise that leaves the data to be seen."""

from __future__ import annotations

import torch
from torch import Tensor

from scorefield.denoisers.base import OF_DATA
from scorefield.inverse.linear import Whitened, isotropic
from scorefield.inverse.method import Task

DRAW = 2**29  # and the next: beyond those of any step


def given_data(task: Task, system: Whitened, t: Tensor, x: Tensor) -> Tensor:
    """`x` `(R, *event)`, drawn from the prior's N(alpha m, alpha^2 v + sigma^2), moved to that law given y.

    m, v are the mean and variance of the denoiser's data, taken as Gaussian. By Matheron's rule, with x0 ~ N(m, v I)
    given x and n ~ N(0, I),

        x + Cov(x_t, u) K^-1 (u - W x0 - n),    Cov(x_t, u) = alpha v W^T,    K = v W W^T + I.

    Where sigma > 10 alpha sqrt(v) it is x itself: x_t tells no more than 1% of the data. Particles need none of it,
    since their weights say where y puts them.
    """
    denoiser, (alpha, sigma) = task.denoiser, (float(v) for v in task.schedule(t))
    sd, mean = denoiser.data_std, denoiser.data_mean
    if sigma > OF_DATA * alpha * sd:
        return x
    m = mean.to(x.device, torch.float64) if isinstance(mean, Tensor) else mean
    spread = (alpha * sd) ** 2 + sigma**2
    x0 = m + alpha * sd**2 / spread * (x.double() - alpha * m) + sigma * sd / spread**0.5 * task.normal(DRAW)
    r = system.residual(x0.flatten(1).to(system.u)) - task.normal(DRAW + 1, (system.size,)).to(system.u)
    shift = alpha * sd**2 * system.adjoint(isotropic(system, sd**2).solve(r))
    return x + shift.reshape(x.shape).to(x)
