"""Weights on ||D(x_t, t) - x0||^2, as functions `weight(schedule, t)`, float64 and of the shape of t.

A loss in another space is a weight here: D - x0 = -(sigma / alpha) (eps_hat - eps), so DDPM's ||eps_hat - eps||^2 is
the weight alpha^2 / sigma^2, the SNR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.schedules import Schedule

Weight = Callable[[Schedule, Tensor], Tensor]


def x0(schedule: Schedule, t: Tensor) -> Tensor:
    """1: the error of the datum itself."""
    return torch.ones_like(t)


def eps(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2: the error of the noise (Ho et al. 2020); also NCSN's sigma^2 x score error at alpha = 1."""
    return snr(schedule, t)


def snr(schedule: Schedule, t: Tensor) -> Tensor:
    """SNR(t) = alpha^2 / sigma^2; infinite at sigma = 0."""
    return torch.exp(2 * schedule.log_snr(t))


def likelihood(schedule: Schedule, t: Tensor) -> Tensor:
    """-dSNR/dt / 2 = g^2 alpha^2 / (2 sigma^4): the loss times d, integrated over t, bounds -log p up to a constant.

    It is g^2 / 2 on the score's error (Song et al. 2021b, theorem 1; Kingma et al. 2021, eq. 11).
    """
    alpha, sigma = schedule(t)
    return schedule.g2(t) * alpha**2 / (2 * sigma**4)


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma): DDPM's weight, cut where the noise is small (Hang et al. 2023)."""

    gamma: float = 5.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return torch.clamp(snr(schedule, t), max=self.gamma)


@dataclass(frozen=True)
class EDM:
    """(s^2 + sd^2) / (s sd)^2, s = sigma / alpha: at the start, unit loss at all noise levels (Karras et al. 2022)."""

    sigma_data: float = 1.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return snr(schedule, t) + 1 / self.sigma_data**2
