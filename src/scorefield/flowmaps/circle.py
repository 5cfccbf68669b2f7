"""The probability-flow ODE in the angle of signal and noise, where all processes are one.

With m and sd the mean and standard deviation of the data, s = sigma / alpha and n^2 = alpha^2 sd^2 + sigma^2,

    theta = atan(s / sd),    z = (x - alpha m) / n = cos(theta) (x0 - m) / sd + sin(theta) eps,
    dz/dtheta = cos(theta) E[eps | x] - sin(theta) (E[x0 | x] - m) / sd.

For Gaussian data of that mean and standard deviation the velocity is 0: what a map has to learn is the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.parameterizations import Parameterization, Row, convert
from scorefield.schedules import Schedule, as_time, pad_right


class Place(NamedTuple):
    """Where on the circle some samples are; each `(B,)` or `()`, float64 on the CPU."""

    theta: Tensor
    t: Tensor
    alpha: Tensor
    scale: Tensor  # n


@dataclass(frozen=True)
class Circle:
    """The circle of a process and of data of that mean and standard deviation."""

    schedule: Schedule
    data_mean: Tensor | float
    data_std: float

    @classmethod
    def of(cls, denoiser: Denoiser) -> Circle:
        return cls(denoiser.schedule, denoiser.data_mean, denoiser.data_std)

    @property
    def limit(self) -> float:
        """The angle at t = 1."""
        return math.atan(float(self.schedule.noise_ratio(1.0)) / self.data_std)

    def place(self, t: Tensor | float) -> Place:
        """The place of a time."""
        t = as_time(t)
        alpha, sigma = self.schedule(t)
        scale = torch.sqrt((alpha * self.data_std) ** 2 + sigma**2)
        return Place(torch.atan2(sigma, alpha * self.data_std), t, alpha, scale)

    def at(self, theta: Tensor) -> Place:
        """The place of an angle; those beyond what the process covers are at its ends."""
        t = self.schedule.time_of_log_snr(-torch.log(self.data_std * torch.tan(theta.clamp(min=1e-12))))
        t = torch.where(theta >= self.limit, 1.0, torch.where(theta <= 0, 0.0, t))
        return self.place(t)._replace(theta=theta)

    def mean(self, like: Tensor) -> Tensor | float:
        return self.data_mean.to(like) if isinstance(self.data_mean, Tensor) else self.data_mean

    def z(self, x: Tensor, at: Place) -> Tensor:
        return (x - pad_right(at.alpha, x) * self.mean(x)) / pad_right(at.scale, x)

    def x(self, z: Tensor, at: Place) -> Tensor:
        return pad_right(at.scale, z) * z + pad_right(at.alpha, z) * self.mean(z)

    def velocity(self, row: Parameterization, x: Tensor, output: Tensor, at: Place) -> Tensor:
        """dz/dtheta at x, of a prediction `output` of the target that `row` says."""
        v = convert(row, Angle(self.data_std), self.schedule, x, output, at.t)
        return v + pad_right(torch.sin(at.theta) / self.data_std, x) * self.mean(x)


@dataclass(frozen=True)
class Angle(Parameterization):
    """cos(theta) eps - sin(theta) x0 / sd: dz/dtheta, but for sin(theta) m / sd."""

    data_std: float

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        alpha, sigma = schedule(t)
        n = torch.sqrt((alpha * self.data_std) ** 2 + sigma**2)
        return Row(-sigma / n / self.data_std, alpha * self.data_std / n)
