"""What networks are told of the noise in their input, by name: conventions of the field as functions of (schedule, t).

    word           number                        told to networks of
    t              t                             flow matching where 1 is noise
    1-t            1 - t                         flow matching where 1 is data
    k              K t - 1, K the chain's steps  DDPM and its descendants: t = (k + 1) / K
    1000t, 999t    1000 t, 999 t                 flow matching's transformers; score_sde's VP networks
    sigma          sigma(t)                      score_sde's VE networks, k-diffusion
    log_sigma      log(sigma / alpha)
    log_sigma/4    log(sigma / alpha) / 4        EDM (Karras et al. 2022)
    log_snr        log(alpha^2 / sigma^2)        variational diffusion models (Kingma et al. 2021)

Where sigma or alpha is 0, logarithms are cut off at 80.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from scorefield.schedules import Discrete, Schedule

Level = Callable[[Schedule, Tensor], Tensor]


def step(schedule: Schedule, t: Tensor) -> Tensor:
    """k = K t - 1 of a chain of K steps; between its knots a fraction.

    Raises:
        ValueError: for a schedule that is no chain.
    """
    if not isinstance(schedule, Discrete):
        raise ValueError(
            f"level='k' is the step of a Discrete schedule; got {type(schedule).__name__}: give a function of t"
        )
    return schedule.steps * t - 1


def log_sigma(schedule: Schedule, t: Tensor) -> Tensor:
    """log(sigma / alpha), within +-80."""
    return torch.clamp(-schedule.log_snr(t), -80, 80)


LEVELS: Mapping[str, Level] = {
    "t": lambda schedule, t: t,
    "1-t": lambda schedule, t: 1 - t,
    "k": step,
    "1000t": lambda schedule, t: 1000 * t,
    "999t": lambda schedule, t: 999 * t,
    "sigma": lambda schedule, t: schedule.sigma(t),
    "log_sigma": log_sigma,
    "log_sigma/4": lambda schedule, t: log_sigma(schedule, t) / 4,
    "log_snr": lambda schedule, t: -2 * log_sigma(schedule, t),
}
