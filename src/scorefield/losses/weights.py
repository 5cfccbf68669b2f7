"""Weights on ||D(x_t, t) - x0||^2, as functions `weight(schedule, t)`, float64 and of the shape of t.

A loss in another space is a weight here: D - x0 = -(sigma / alpha) (eps_hat - eps), so DDPM's ||eps_hat - eps||^2 is
the weight alpha^2 / sigma^2, the SNR. In general the error of a target is the weight 1 / c_out^2, where D - x0 =
c_out (output - target):

| error of | weight |
| --- | --- |
| x0 | 1 |
| eps; NCSN's sigma^2 x score | alpha^2 / sigma^2 |
| the score | alpha^2 / sigma^4 |
| v | (alpha^2 + sigma^2)^2 / sigma^2, for VP: SNR + 1 |
| velocity | (alpha lambda')^2 |
| EDM's F | (s^2 + sd^2) / (s sd)^2 at alpha = 1, s = sigma / alpha |

so papers that state one weight in several spaces, min(SNR, gamma) / SNR on eps, min(SNR, gamma) / (SNR + 1) on v, say
one thing here: min(SNR, gamma).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorefield.losses.times import TimeLaw, Uniform
from scorefield.parameterizations import Parameterization
from scorefield.schedules import Schedule, derivative

Weight = Callable[[Schedule, Tensor], Tensor]


def x0(schedule: Schedule, t: Tensor) -> Tensor:
    """1: the error of the datum itself."""
    return torch.ones_like(t)


def eps(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2: the error of the noise (Ho et al. 2020); also NCSN's sigma^2 x score error at alpha = 1."""
    return snr(schedule, t)


def ncsn(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma^2 times the score's squared error (Song & Ermon 2019): the same weight as `eps`."""
    return snr(schedule, t)


def score(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha^2 / sigma^4: the error of the score itself, Vincent's (2011) loss without a weight."""
    alpha, sigma = schedule(t)
    return (alpha / sigma**2) ** 2


def v(schedule: Schedule, t: Tensor) -> Tensor:
    """(alpha^2 + sigma^2)^2 / sigma^2: the error of v (Salimans & Ho 2022); SNR + 1 for VP."""
    alpha, sigma = schedule(t)
    return ((alpha**2 + sigma**2) / sigma) ** 2


def velocity(schedule: Schedule, t: Tensor) -> Tensor:
    """(alpha dlambda/dt)^2: the error of alpha' x0 + sigma' eps, flow matching's loss (Lipman et al. 2023)."""
    return _alpha_log_snr_rate(schedule, t) ** 2


def snr(schedule: Schedule, t: Tensor) -> Tensor:
    """SNR(t) = alpha^2 / sigma^2; infinite at sigma = 0."""
    return torch.exp(2 * schedule.log_snr(t))


def likelihood(schedule: Schedule, t: Tensor) -> Tensor:
    """-dSNR/dt / 2 = g^2 alpha^2 / (2 sigma^4): the loss times d, integrated over t, bounds -log p up to a constant.

    It is g^2 / 2 on the score's error (Song et al. 2021b, theorem 1; Kingma et al. 2021, eq. 11).
    """
    alpha, sigma = schedule(t)
    return -alpha / sigma**2 * _alpha_log_snr_rate(schedule, t)


def _alpha_log_snr_rate(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha lambda' = alpha' - alpha sigma' / sigma: finite where alpha = 0, as lambda' is not."""
    alpha, sigma = schedule(t)
    return derivative(schedule.alpha, t) - alpha * derivative(schedule.sigma, t) / sigma


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma): DDPM's weight, cut where the noise is small (Hang et al. 2023). One weight for eps, v and x0."""

    gamma: float = 5.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return torch.clamp(snr(schedule, t), max=self.gamma)


@dataclass(frozen=True)
class SoftMinSNR:
    """1 / (1 / SNR + 1 / gamma): MinSNR without its corner (Crowson et al. 2024)."""

    gamma: float = 4.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return 1 / (1 / snr(schedule, t) + 1 / self.gamma)


@dataclass(frozen=True)
class P2:
    """SNR / (k + SNR)^gamma: less of DDPM's weight where the noise hardly hides anything (Choi et al. 2022).

    Theirs, 1 / (k + SNR)^gamma, stands on the error of eps. gamma = 0 is DDPM's weight.
    """

    gamma: float = 1.0
    k: float = 1.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        ratio, inverse = snr(schedule, t), torch.exp(-2 * schedule.log_snr(t))
        little = inverse ** (self.gamma - 1) / (self.k * inverse + 1) ** self.gamma  # the same, where SNR is infinite
        return torch.where(ratio > 1, little, ratio / (self.k + ratio) ** self.gamma)


@dataclass(frozen=True)
class Exponential:
    """exp(rate lambda) = SNR^(rate / 2): levels weighed exponentially in lambda = log(alpha / sigma).

    0 is the datum's error, 2 that of the noise (DDPM, NCSN's sigma^2), and, at alpha = 1, 4 that of the score itself.
    """

    rate: float = 2.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return torch.exp(self.rate * schedule.log_snr(t))


@dataclass(frozen=True)
class Target:
    """1 / c_out^2: the error of the parameterisation's own target, what `weight=None` means for a network."""

    parameterization: Parameterization

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return 1 / self.parameterization.solve(schedule, t)[1] ** 2


@dataclass(frozen=True)
class ImportanceWeighted:
    """weight(t) of(t) / law(t): times drawn from `law`, expectation as if drawn from `of`.

    The law and the weight are one product, and E_law[w (of / law) loss] = E_of[w loss] for every law that is positive
    where `of` is: only the variance of the estimate changes. Both densities must be of one kind, continuous or Ladder.
    """

    weight: Weight
    law: TimeLaw
    of: TimeLaw = field(default_factory=Uniform)

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return self.weight(schedule, t) * self.of.density(t) / self.law.density(t)


@dataclass(frozen=True)
class EDMWeight:
    """(s^2 + sd^2) / (s sd)^2, s = sigma / alpha: at the start, unit loss at all noise levels (Karras et al. 2022)."""

    sigma_data: float = 1.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return snr(schedule, t) + 1 / self.sigma_data**2
