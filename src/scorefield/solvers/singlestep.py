"""Exponential one-step methods: DPM-Solver and DPM-Solver++ (singlestep).

Along the half log-SNR lambda = log(alpha / sigma) the probability-flow ODE is linear but for one field F,

    data:   x / sigma = int  e^lambda  E[x0 | x] dlambda           DPM-Solver++
    noise:  x / alpha = int -e^-lambda E[eps | x] dlambda          DPM-Solver

which is one formula. With h = lambda_s - lambda_t, z = -h for data and +h for noise, m the scale that divides x (sigma
or alpha) and n the other one, the exact solution for F constant over a step, its intermediate points at fractions r of
it, and their corrections are

    x(r) = (m_r / m_t) x_t - n_r [ (e^{r z} - 1) F_t + sum_j w_j(z) (F_j - F_t) ].

    order   points       w
    2       r1, 1        at 1:   (e^z - 1) / (2 r1)                                              on F(r1)
    3       r1, r2, 1    at r2:  (r2 / r1) [(e^{r2 z} - 1) / (r2 z) - 1]                         on F(r1)
                         at 1:   (1 / r2) [(e^z - 1) / z - 1]                                    on F(r2)
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import finite
from scorefield.solvers.staged import Scheme, StagedSolver

_POINTS: dict[int, tuple[float, ...]] = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}  # as published


@dataclass(frozen=True)
class ExponentialRungeKutta(StagedSolver):
    """What the two have in common; each has 1 to 3 evaluations a step and one in the last, to sigma = 0.

    Args:
        order: 1 to 3, and as many evaluations a step; 1 is DDIM.
        points: the intermediate points, as fractions of a step in lambda: (r1,) or (r1, r2) with 0 < r1 < r2 < 1. As
            published unless given: 1/2, and 1/3 and 2/3. The third order takes r2 = 2/3.
        finish: evaluations (and order) of the last step above sigma = 0; 0 for the method's own.

    Raises:
        ValueError: for an order outside 1 to 3, points that do not fit it, or a finish that is not below the order.
    """

    order: int = 3
    points: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.order not in _POINTS:
            raise ValueError(f"{name}: order must be 1, 2 or 3; got {self.order}")
        ends = (0.0, *self._points, 1.0)
        if len(ends) != self.order + 1 or any(not a < b for a, b in itertools.pairwise(ends)):
            raise ValueError(
                f"{name}: points must be {self.order - 1} fractions of a step, increasing inside (0, 1); "
                f"got {self.points}"
            )
        if self.order == 3 and abs(self._points[1] - 2 / 3) > 1e-9:
            raise ValueError(f"{name}: points[1] must be 2/3, where alone the order is 3; got {self._points[1]:g}")
        super().__post_init__()

    @property
    def _points(self) -> tuple[float, ...]:
        return _POINTS[self.order] if self.points is None else self.points

    @property
    def evaluations(self) -> int:
        return self.order

    def lower(self, evaluations: int) -> Self:
        return dataclasses.replace(self, order=evaluations, points=None, finish=0)

    @abc.abstractmethod
    def _field(self, alpha: Tensor, sigma: Tensor) -> tuple[float, Tensor, Tensor, Tensor, Tensor]:
        """(sign of z / h, m, n, p, q) at a point's alpha and sigma, F = p x + q D."""

    def scheme(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Scheme:
        schedule, points = denoiser.schedule, self._points
        start = schedule.log_snr(t)
        finite(self, t, log_snr=start)
        h = schedule.log_snr(s) - start
        times = [t, *(schedule.time_of_log_snr(start + r * h) for r in points), s]
        sign, *_ = self._field(*schedule(t))
        _, m, n, p, q = zip(*(self._field(*schedule(time)) for time in times), strict=True)
        z = sign * h
        corrections = [torch.zeros_like(z)]  # the weight w of the field just before each point; the first has none
        if self.order == 2:
            corrections.append(torch.expm1(z) / (2 * points[0]))
        elif self.order == 3:
            r1, r2 = points
            corrections.append(r2 / r1 * (torch.expm1(r2 * z) / (r2 * z) - 1))
            corrections.append((torch.expm1(z) / z - 1) / r2)
        rows = []
        for i, (r, w) in enumerate(zip((*points, 1.0), corrections, strict=True), start=1):
            of_first = -n[i] * (torch.expm1(r * z) - w)
            rows.append([of_first] if i == 1 else [of_first, *(torch.zeros_like(z) for _ in range(i - 2)), -n[i] * w])
        return Scheme(
            t=times[:-1],
            p=list(p[:-1]),
            q=list(q[:-1]),
            a=[m_i / m[0] for m_i in m[1:]],
            b=rows,
        )


@dataclass(frozen=True)
class DPMSolver(ExponentialRungeKutta):
    """DPM-Solver-1, -2 and -3 of Lu et al. (2022a), algorithms 1 and 2: exponential in the noise prediction.

    With h = lambda_s - lambda_t and u the point at lambda_t + h / 2, DPM-Solver-2 is

        x_u = (alpha_u / alpha_t) x_t - sigma_u (e^{h/2} - 1) eps(x_t, t)
        x_s = (alpha_s / alpha_t) x_t - sigma_s (e^h - 1) eps(x_u, u),

    its first line with u = s DPM-Solver-1, and with u = lambda_t + h / 3, v = lambda_t + 2 h / 3, d_v = eps(x_v, v) -
    eps(x_t, t), d_u likewise, DPM-Solver-3

        x_u = (alpha_u / alpha_t) x_t - sigma_u (e^{h/3} - 1) eps(x_t, t)
        x_v = (alpha_v / alpha_t) x_t - sigma_v (e^{2h/3} - 1) eps(x_t, t) - 2 sigma_v ((e^{2h/3} - 1) / (2h/3) - 1) d_u
        x_s = (alpha_s / alpha_t) x_t - sigma_s (e^h - 1) eps(x_t, t) - (3/2) sigma_s ((e^h - 1) / h - 1) d_v.
    """

    def _field(self, alpha: Tensor, sigma: Tensor) -> tuple[float, Tensor, Tensor, Tensor, Tensor]:
        return 1.0, alpha, sigma, 1 / sigma, -alpha / sigma


@dataclass(frozen=True)
class DPMSolverPPS(ExponentialRungeKutta):
    """DPM-Solver++(2S) and (3S) of Lu et al. (2022b), algorithm 1: exponential in the data prediction.

    With h = lambda_s - lambda_t and u the point at lambda_t + h / 2, DPM-Solver++(2S) is

        x_u = (sigma_u / sigma_t) x_t - alpha_u (e^{-h/2} - 1) D(x_t, t)
        x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) D(x_u, u).
    """

    def _field(self, alpha: Tensor, sigma: Tensor) -> tuple[float, Tensor, Tensor, Tensor, Tensor]:
        return -1.0, sigma, alpha, torch.zeros_like(alpha), torch.ones_like(alpha)
