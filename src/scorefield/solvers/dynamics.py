"""Langevin dynamics at one level of noise: steps that leave p_t as it is, one evaluation each.

In terms of D = E[x0 | x] the score is (alpha D - x) / sigma^2, and lengths at the level are measured in sigma:
`step_size` is the squared length of a step in that unit, h = step_size sigma^2. The score's slope is at least -1 /
sigma^2, whatever the data, so step_size < 4 is stable for each of

    Overdamped     x <- x + (h/2) score + sqrt(h) z
    Exponential    the same, its part -(x - alpha m) / v, v = alpha^2 data_std^2 + sigma^2, of the score solved exactly
    Underdamped    dx = v dt, dv = (score - gamma v) dt + sqrt(2 gamma) dw, split as BAOAB

On Gaussian data of that standard deviation the first leaves the variance v / (1 - h / 4v), an error of first order in
h; the other two leave v itself, at every step size. Critically-damped Langevin *diffusion* (Dockhorn et al. 2022) is
something else: its network is trained on pairs (x, v).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import Denoise, Normals, State

_FIRST_VELOCITY = 2**30  # a draw that no step takes


class Dynamics(abc.ABC):
    """How a Langevin step is taken. What it carries from step to step is State.past."""

    @abc.abstractmethod
    def coefficients(self, denoiser: Denoiser, t: Tensor, step_size: float) -> Sequence[Any]:
        """One entry for each level `t` `(N,)`; None where sigma = 0, and there is nothing to move in."""

    @abc.abstractmethod
    def step(self, denoise: Denoise, state: State, t: Tensor, coefficients: Any, draw: int, normals: Normals) -> State:
        """One step at level `t`, with the noise of `normals(draw)`."""


class _Affine(Dynamics):
    """x + c (alpha D - x) + r z: what needs no memory."""

    @abc.abstractmethod
    def pull(self, denoiser: Denoiser, alpha: Tensor, sigma: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
        """(c, r)."""

    def coefficients(self, denoiser: Denoiser, t: Tensor, step_size: float) -> Sequence[Any]:
        alpha, sigma = denoiser.schedule(t)
        c, r = self.pull(denoiser, alpha, sigma, step_size)
        return _where_noisy(sigma, zip((1 - c).tolist(), (c * alpha).tolist(), r.tolist(), strict=True))

    def step(self, denoise: Denoise, state: State, t: Tensor, coefficients: Any, draw: int, normals: Normals) -> State:
        of_x, of_x0, of_z = coefficients
        x0 = denoise(state.x, t)
        return State(torch.add(state.x * of_x, x0, alpha=of_x0).add_(normals(draw), alpha=of_z), x0)


@dataclass(frozen=True)
class Overdamped(_Affine):
    """Euler-Maruyama's step of Langevin dynamics: x <- x + (h/2) score + sqrt(h) z, h = step_size sigma^2.

    With score = (alpha D - x) / sigma^2 it is x + (step_size / 2) (alpha D - x) + sqrt(step_size) sigma z.
    """

    def pull(self, denoiser: Denoiser, alpha: Tensor, sigma: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
        return torch.full_like(sigma, step_size / 2), step_size**0.5 * sigma


@dataclass(frozen=True)
class Exponential(_Affine):
    """The exponential integrator of the same dynamics, exact on N(mean, data_std^2 I) at any step size.

    With score = -(x - alpha m) / v + r and r held fixed, for e = exp(-h / 2v),

        x <- alpha m + e (x - alpha m) + v (1 - e) r + sqrt(v (1 - e^2)) z
           = x + (1 - e) (v / sigma^2) (alpha D - x) + sqrt(v (1 - e^2)) z,

    in which the mean is not needed. Where sigma is small beside the data's width this is the overdamped step; where it
    is large, c = 1 - e stays below 1 however long the step.
    """

    def pull(self, denoiser: Denoiser, alpha: Tensor, sigma: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
        v = _variance(denoiser, alpha, sigma)
        rate = step_size * sigma**2 / (2 * v)
        return -torch.expm1(-rate) * v / sigma**2, torch.sqrt(-v * torch.expm1(-2 * rate))


class _Kinetic(NamedTuple):
    kick_x: float  # v <- v + kick_x x + kick_x0 D
    kick_x0: float
    drift: float  # x <- x + drift v, twice
    keep: float  # v <- keep v + fluctuate z
    fluctuate: float


@dataclass(frozen=True)
class Underdamped(Dynamics):
    """Langevin dynamics with momentum (Leimkuhler & Matthews 2013), one BAOAB step:

        B   v <- v + h sigma score = v + (h / sigma) (alpha D - x)
        A   x <- x + (h / 2) sigma v
        O   v <- e^(-gamma h) v + sqrt(1 - e^(-2 gamma h)) z
        A   again,

    lengths in units of sigma, h^2 = step_size; the two half kicks B of neighbouring steps have the same score and are
    joined.
    In the limit of strong friction it is the overdamped step of the same size, but neighbours share their noises. The
    law of x is exact where the score is linear; else its error is O(h^2). It crosses a distance of n steps in n steps
    where a random walk needs n^2. The velocity goes on from level to level.

    Args:
        friction: gamma in units of the critical damping of the data's width, 2 sigma / sqrt(alpha^2 data_std^2 +
            sigma^2).

    Raises:
        ValueError: for a friction that is not positive.
    """

    friction: float = 1.0

    def __post_init__(self) -> None:
        if not self.friction > 0:
            raise ValueError(f"Underdamped: friction must be positive; got {self.friction}")

    def coefficients(self, denoiser: Denoiser, t: Tensor, step_size: float) -> Sequence[Any]:
        alpha, sigma = denoiser.schedule(t)
        h = step_size**0.5
        damping = self.friction * 2 * sigma / torch.sqrt(_variance(denoiser, alpha, sigma)) * h  # gamma h
        columns = (
            -h / sigma,
            h * alpha / sigma,
            h * sigma / 2,
            torch.exp(-damping),
            torch.sqrt(-torch.expm1(-2 * damping)),
        )
        return _where_noisy(sigma, map(_Kinetic, *(c.tolist() for c in columns)))

    def step(self, denoise: Denoise, state: State, t: Tensor, coefficients: Any, draw: int, normals: Normals) -> State:
        of_x, of_x0, drift, keep, fluctuate = coefficients
        x, x0 = state.x, denoise(state.x, t)
        (v,) = state.past or (normals(_FIRST_VELOCITY),)
        v = torch.add(v, x, alpha=of_x).add_(x0, alpha=of_x0)
        x = torch.add(x, v, alpha=drift)
        v = v.mul_(keep).add_(normals(draw), alpha=fluctuate)
        return State(x.add_(v, alpha=drift), x0, (v,))


def _variance(denoiser: Denoiser, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Of x_t, for data of the denoiser's standard deviation."""
    return (alpha * denoiser.data_std) ** 2 + sigma**2


def _where_noisy(sigma: Tensor, rows: Any) -> list[Any]:
    return [row if s > 0 else None for s, row in zip(sigma.tolist(), rows, strict=True)]
