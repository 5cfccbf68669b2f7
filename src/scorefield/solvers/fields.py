"""What a multistep method extrapolates, and along which variable.

Along every grid the solution of the probability-flow ODE (and of the SDEs that share its marginals) from t to s is

    x_s = keep x_t + int_{v(t)}^{v(s)} K(v) F(v) dv + noise z

for a field F that is linear in x and E[x0 | x], a variable v and a kernel K: 'which field, along which variable' is
what tells one family of methods from another, since F between its evaluations is replaced by a polynomial in v.

    field             F           v           K                            published as
    DataPrediction    D           lambda      (1 + eta^2) sigma_s exp(lambda - eta^2 (lambda_s - lambda))
                                                                           DPM-Solver++, UniPC; SA-Solver with eta > 0
    NoisePrediction   eps         lambda      -(1 + eta^2) alpha_s exp(-lambda)
                                                                           DPM-Solver, DEIS; with eta = 1, SEEDS's kin
    PathVelocity(path)    dz/du       u           (1 + eta^2) (a(u) / a_s)^(eta^2), of z_s
                                                                           Adams-Bashforth; LMS on EDM's path

eta is a number for each step: 0 is the ODE, 1 the reverse SDE. On any path z = a x0 + b eps the family of SDEs is

    dz = [(1 + eta^2) F - eta^2 (a'/a) z] du + eta g dw,      g^2 = 2 (b b' - b^2 a'/a),

whose linear part is solved exactly. On the circle a = cos, b = sin it is an Ornstein-Uhlenbeck process that holds the
variance of Gaussian data, for which F = 0: with any step and any eta, z <- keep z + sqrt(1 - keep^2) n.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule, derivative
from scorefield.solvers.base import Coordinate

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(16))  # on (-1, 1)


class VariationOfConstants(NamedTuple):
    """x_s = keep x_t + int K(v) F(v) dv + noise z, for the N steps of a grid; `(N,)` in float64 but for `variable`."""

    variable: Tensor  # v at the nodes, (N + 1,), rising or falling; the last may be infinite, where sigma = 0
    of_x: Tensor | float  # F = of_x x + of_x0 D at the start of each step
    of_x0: Tensor | float
    keep: Tensor
    mass: Tensor  # int K dv over the step
    noise: Tensor
    kernel: Callable[[Tensor], Tensor]  # K at points of the variable, (N, Q) -> (N, Q), up to a factor for each step


class Field(abc.ABC):
    """See the table above."""

    @abc.abstractmethod
    def on_grid(self, denoiser: Denoiser, times: Tensor, eta: Tensor) -> VariationOfConstants:
        """The field on the grid `times` `(N + 1,)`; eta, `(N,)`: of each step, 0 where it ends at sigma = 0."""


@dataclass(frozen=True)
class DataPrediction(Field):
    """D = E[x0 | x_t] along lambda.

    w = x / sigma obeys dw = [(1 + eta^2) e^lambda D - eta^2 w] dlambda + sqrt(2) eta dW.

    Lu et al. 2022b for eta = 0 and 1, Xue et al. 2023 for every eta.
    """

    def on_grid(self, denoiser: Denoiser, times: Tensor, eta: Tensor) -> VariationOfConstants:
        alpha, sigma = denoiser.schedule(times)
        v = torch.log(alpha) - torch.log(sigma)
        h = v.diff()
        rate, decay = 1 + eta**2, torch.where(eta > 0, eta**2 * h, 0.0)  # h is infinite where sigma = 0
        return VariationOfConstants(
            v,
            0.0,
            1.0,
            sigma[1:] / sigma[:-1] * torch.exp(-decay),
            alpha[1:] * -torch.expm1(-rate * h),
            sigma[1:] * torch.sqrt(-torch.expm1(-2 * decay)),
            lambda at: torch.exp(rate[:, None] * (at - v[:-1, None])),
        )


@dataclass(frozen=True)
class NoisePrediction(Field):
    """eps = (x - alpha D) / sigma along lambda: y = x / alpha obeys dy = -(1 + eta^2) e^-lambda eps dlambda + noise.

    Lu et al. 2022a for eta = 0.
    """

    def on_grid(self, denoiser: Denoiser, times: Tensor, eta: Tensor) -> VariationOfConstants:
        alpha, sigma = denoiser.schedule(times)
        v = torch.log(alpha) - torch.log(sigma)
        keep = alpha[1:] / alpha[:-1]
        return VariationOfConstants(
            v,
            1 / sigma[:-1],
            -alpha[:-1] / sigma[:-1],
            keep,
            (1 + eta**2) * (sigma[1:] - keep * sigma[:-1]),
            eta * torch.sqrt((keep * sigma[:-1]) ** 2 - sigma[1:] ** 2),
            lambda at: torch.exp(v[:-1, None] - at),
        )


@dataclass(frozen=True)
class PathVelocity(Field):
    """dz/du on a path z = a(u) x0 / sd + b(u) eps, `base.Coordinate`, along its time u; `None`: the process's own t.

    On `Cosine(0)` u is the angle atan(sigma / (alpha sd)) and Gaussian data of standard deviation sd = data_std stand
    still, so that only what is not Gaussian is left to extrapolate; on `Rectified()` u = s / (s + sd). `scale` takes
    sd to be so many data_std instead of one.

    Raises:
        ValueError: for a scale that is not positive.
    """

    path: Schedule | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"PathVelocity: scale must be positive; got {self.scale}")

    def on_grid(self, denoiser: Denoiser, times: Tensor, eta: Tensor) -> VariationOfConstants:
        at = Coordinate.of(self.path, denoiser, times, self.scale)
        of_x, of_x0 = at.slope(denoiser)
        keep, mass, noise, kernel = _on_path(self.path or denoiser.schedule, at.u, eta)
        return VariationOfConstants(
            at.u,
            of_x[:-1],
            of_x0[:-1],
            keep * at.scale[:-1] / at.scale[1:],
            mass / at.scale[1:],
            noise / at.scale[1:],
            kernel,
        )


def _on_path(path: Schedule, u: Tensor, eta: Tensor) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """(keep, mass, noise, kernel) of z on the steps of `u` `(N + 1,)`.

    The noise is what is missing from the variance r^2 = a^2 + b^2 of unit Gaussian data, an exact solution:
    noise^2 = r_s^2 - keep^2 r_t^2 - (1 + eta^2) int (r^2)' (a / a_s)^(2 eta^2) du. On a circle r' = 0.
    """
    a_s, power, h = path.alpha(u[1:])[:, None], (eta**2)[:, None], u.diff()[:, None]

    def radius2(u: Tensor) -> Tensor:
        return path.alpha(u) ** 2 + path.sigma(u) ** 2

    def kernel(at: Tensor) -> Tensor:
        return (path.alpha(at) / a_s) ** power

    def integral(values: Tensor) -> Tensor:
        return ((values * WEIGHTS).sum(1, keepdim=True) * h / 2)[:, 0]

    points = u[:-1, None] + h * (1 + NODES) / 2
    keep = (path.alpha(u[:-1]) / a_s[:, 0]) ** (eta**2)
    r2 = radius2(u)
    gained = (1 + eta**2) * integral(derivative(radius2, points) * kernel(points) ** 2)
    variance = torch.where(eta > 0, r2[1:] - keep**2 * r2[:-1] - gained, 0.0)
    return keep, (1 + eta**2) * integral(kernel(points)), torch.sqrt(variance.clamp(min=0.0)), kernel
