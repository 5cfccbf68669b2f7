"""`Jump`: the solver of flow maps, one evaluation a jump."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.flowmaps.circle import Circle
from scorefield.schedules import floats
from scorefield.solvers.base import Denoise, Normals, Solver, State, Step


class _Jump(NamedTuple):
    """x_s = keep x + noise z, x where the map leads to: the time `until`."""

    until: Tensor
    keep: float
    noise: float


@dataclass(frozen=True)
class Jump(Solver):
    """x_s = X(x_t; t, s) of a flow map, for each step of a grid.

    Args:
        renoise: the share of the noise at s that is new. 0: each jump ends at s itself. 1: each jump ends at t = 0 and
            noise is added again, as consistency models are sampled, which forgets what earlier jumps erred.

    Raises:
        ValueError: for a share outside [0, 1]; in use, for a denoiser that is no flow map.
    """

    renoise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.renoise <= 1:
            raise ValueError(f"Jump: renoise must lie in [0, 1]; got {self.renoise}")

    @property
    def stochastic(self) -> bool:
        return self.renoise > 0

    @property
    def increments(self) -> bool:
        return True

    @property
    def learned(self) -> bool:
        return True

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        return self, angles(denoiser, self.budget(2 if nfe is None else nfe))

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        """A jump ends at a lower noise sigma_u, sigma_u / alpha_u = sqrt(1 - renoise^2) sigma_s / alpha_s, and noise
        makes up for the rest: the ratio of x_s is then that of s."""
        if not hasattr(denoiser, "mean_velocity"):
            raise ValueError(f"Jump is for a FlowMap, which knows where to go; got {type(denoiser).__name__}")
        schedule = denoiser.schedule
        alpha, sigma = schedule(s)
        ratio = math.sqrt(1 - self.renoise**2) * sigma / alpha
        until = torch.where(sigma > 0, schedule.time_of_log_snr(-torch.log(ratio)), s) if self.renoise else s
        if self.renoise == 1:
            until = torch.zeros_like(s)
        keep, noise = alpha / schedule.alpha(until), self.renoise * sigma
        return [_Jump(u, k, n) for u, k, n in zip(until, floats(keep), floats(noise), strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        until, keep, noise = step.coefficients
        x: Tensor = cast(Any, denoise)(state.x, step.t, s=until)  # what a flow map is asked besides
        return State(keep * x + noise * normals(step.index) if noise else x, x)


def angles(denoiser: Denoiser, jumps: int) -> Tensor:
    """A grid of equal jumps in the angle, from t = 1 to t = 0.

    Raises:
        ValueError: for no jump.
    """
    if jumps < 1:
        raise ValueError(f"nfe must be at least 1; got {jumps}")
    circle = Circle.of(denoiser)
    return circle.at(torch.linspace(circle.limit, 0, jumps + 1, dtype=torch.float64, device="cpu")).t
