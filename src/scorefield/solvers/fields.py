"""What a multistep method extrapolates, and along which variable.

Along every grid the solution of the probability-flow ODE (and of the SDEs that share its marginals) from t to s is

    x_s = keep x_t + int_{v(t)}^{v(s)} K(v) F(v) dv + noise z

for a field F that is linear in x and E[x0 | x], a variable v and a kernel K: 'which field, along which variable' is
what tells one family of methods from another, since F between its evaluations is replaced by a polynomial in v.

    field             F           v           K                            published as
    DataPrediction    D           lambda      (1 + eta^2) sigma_s exp(lambda - eta^2 (lambda_s - lambda))
                                                                           DPM-Solver++, UniPC; SA-Solver with eta > 0
    NoisePrediction   eps         lambda      -alpha_s exp(-lambda)        DPM-Solver, DEIS
    PathVelocity(path)    dz/du       u           z_s = z_t + int F du         Adams-Bashforth; LMS on EDM's path
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule
from scorefield.solvers.base import Coordinate


class Along(NamedTuple):
    """A field along a grid of N steps; each `(N,)` in float64 but for `variable`."""

    variable: Tensor  # (N + 1,), increasing or decreasing; the last may be infinite, where sigma = 0
    of_x: Tensor | float  # F = of_x x + of_x0 D at the start of each step
    of_x0: Tensor | float
    keep: Tensor
    mass: Tensor  # int K dv over the step
    noise: Tensor
    kernel: Callable[[Tensor], Tensor]  # K at points of the variable, (N, Q) -> (N, Q), up to a factor for each step


class Field(abc.ABC):
    """See the table above."""

    @abc.abstractmethod
    def along(self, denoiser: Denoiser, times: Tensor, eta: float) -> Along:
        """The field on the grid `times` `(N + 1,)`; eta: 0 for the ODE, 1 for the reverse SDE."""


@dataclass(frozen=True)
class DataPrediction(Field):
    """D = E[x0 | x_t] along lambda.

    w = x / sigma obeys dw = [(1 + eta^2) e^lambda D - eta^2 w] dlambda + sqrt(2) eta dW.

    Lu et al. 2022b for eta = 0 and 1, Xue et al. 2023 for every eta.
    """

    def along(self, denoiser: Denoiser, times: Tensor, eta: float) -> Along:
        alpha, sigma = denoiser.schedule(times)
        v = torch.log(alpha) - torch.log(sigma)
        h = v.diff()
        rate, decay = 1 + eta**2, eta**2 * h if eta else torch.zeros_like(h)  # h is infinite where sigma = 0
        return Along(
            v,
            0.0,
            1.0,
            sigma[1:] / sigma[:-1] * torch.exp(-decay),
            alpha[1:] * -torch.expm1(-rate * h),
            sigma[1:] * torch.sqrt(-torch.expm1(-2 * decay)),
            lambda at: torch.exp(rate * (at - v[:-1, None])),
        )


@dataclass(frozen=True)
class NoisePrediction(Field):
    """eps = (x - alpha D) / sigma along lambda: x / alpha loses int exp(-lambda) eps dlambda (Lu et al. 2022a)."""

    def along(self, denoiser: Denoiser, times: Tensor, eta: float) -> Along:
        _deterministic(self, eta)
        alpha, sigma = denoiser.schedule(times)
        v = torch.log(alpha) - torch.log(sigma)
        keep = alpha[1:] / alpha[:-1]
        return Along(
            v,
            1 / sigma[:-1],
            -alpha[:-1] / sigma[:-1],
            keep,
            sigma[1:] - keep * sigma[:-1],
            torch.zeros_like(keep),
            lambda at: torch.exp(v[:-1, None] - at),
        )


@dataclass(frozen=True)
class PathVelocity(Field):
    """dz/du on a path z = a(u) x0 / sd + b(u) eps, `base.Coordinate`, along its time u; `None`: the process's own t.

    On `Cosine(0)` u is the angle atan(sigma / (alpha sd)) and Gaussian data of standard deviation sd = data_std stand
    still, so that only what is not Gaussian is left to extrapolate; on `Rectified()` u = s / (s + sd). `scale` takes
    sd to be so many data_std instead of one.
    """

    path: Schedule | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"PathVelocity: scale must be positive; got {self.scale}")

    def along(self, denoiser: Denoiser, times: Tensor, eta: float) -> Along:
        _deterministic(self, eta)
        at = Coordinate.of(self.path, denoiser, times, self.scale)
        of_x, of_x0 = at.slope(denoiser)
        return Along(
            at.u,
            of_x[:-1],
            of_x0[:-1],
            at.scale[:-1] / at.scale[1:],
            at.u.diff() / at.scale[1:],
            torch.zeros_like(at.u[1:]),
            torch.ones_like,
        )


def _deterministic(field: Field, eta: float) -> None:
    if eta:
        raise ValueError(f"eta must be 0 with {field}: only DataPrediction has stochastic steps; got {eta}")
