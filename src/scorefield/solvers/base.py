"""What a solver is.

A solver turns x_t into x_s, s < t, along a grid of times. Everything about the grid is known before the first
evaluation, so `plan` computes each step's coefficients once, vectorised over the grid in float64, and `step` is a few
products of Python numbers with tensors. What a later step needs from an earlier one travels in the `State`; the solver
itself, a frozen dataclass, remembers nothing.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.schedules import Schedule, floats

Normals = Callable[[int], Tensor]  # draw index -> standard normals of the shape of x


class Denoise(Protocol):
    """E[x0 | x_t] with the condition bound: what a step may ask, and what is counted.

    `rows` `(n,)` says which samples of the batch the n rows of x_t belong to, with a time `t` `(n,)` for each: fewer
    than all where some are done, or the same sample at several times. None: the batch as it is.
    """

    def __call__(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor: ...


DEFAULT_NFE = 30


class State(NamedTuple):
    """What one step hands to the next."""

    x: Tensor
    x0: Tensor  # the latest prediction of the datum: a preview
    past: tuple[Any, ...] = ()  # whatever the method needs of earlier steps, newest first
    stopped: Tensor | None = None  # (B,) float64: the time where a sample was left behind, NaN elsewhere; x is NaN then


@dataclass(frozen=True)
class Step:
    """One step of a plan: from `t` to `s` (0-d, float64), with the method's own coefficients."""

    index: int
    t: Tensor
    s: Tensor
    coefficients: Any


class Solver(abc.ABC):
    """A method that takes x_t to x_s, as a value: subclasses are frozen dataclasses.

    What a method is may be read off it as properties; one that lets its user choose (`Multistep(order=3)`) has a field
    of that name, with a default.
    """

    @property
    def order(self) -> int:
        """The p in global error ~ h^p, h the step: strong order for ODEs, weak for SDEs."""
        return 1

    @property
    def evaluations(self) -> int:
        """Network calls a step."""
        return 1

    @property
    def stochastic(self) -> bool:
        """Whether the steps draw noise."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether every sample chooses its own steps: a tolerance `rtol`, not the grid, then sets the error."""
        return False

    @property
    def increments(self) -> bool:
        """Whether the noise of a step is `normals(step.index)` and no other: an increment of a Brownian motion."""
        return False

    @property
    def learned(self) -> bool:
        """Whether where a step leads is a network's own answer: steps of an exact one have no error."""
        return False

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        """This method and a grid for it, within `nfe` evaluations a sample (None: DEFAULT_NFE).

        Raises:
            ValueError: for fewer than one step takes.
        """
        nfe = self.budget(nfe, self.evaluations)
        return self, default_grid(denoiser, nfe // self.evaluations, stochastic=self.stochastic)

    def budget(self, nfe: int | None, least: int = 1) -> int:
        """`nfe`, or DEFAULT_NFE where none is named; `least` is what the shortest run takes.

        Raises:
            ValueError: if `nfe` is below `least`.
        """
        nfe = DEFAULT_NFE if nfe is None else nfe
        if nfe < least:
            raise ValueError(f"nfe must be at least {least}, one step of {self}; got {nfe}")
        return nfe

    @abc.abstractmethod
    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        """One entry a step for the whole grid at once: from `t` `(N,)` to `s` `(N,)`."""

    @abc.abstractmethod
    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        """From step.t to step.s. `normals(k)` is a function of k alone: use k = step.index * draws_per_step + j."""

    def plan(self, denoiser: Denoiser, times: Tensor) -> list[Step]:
        """The steps of the grid `times` `(N + 1,)`.

        Raises:
            ValueError: if a coefficient is not finite, which names the step: a drift that is singular at t = 1, say.
        """
        steps = self.coefficients(denoiser, times[:-1], times[1:])
        return [Step(i, t, s, c) for i, (t, s, c) in enumerate(zip(times[:-1], times[1:], steps, strict=True))]

    def init(self, x: Tensor) -> State:
        return State(x, x)


def left_behind(stopped: Tensor | None, lost: Tensor, t: Tensor) -> Tensor:
    """`State.stopped` once the samples `lost` `(B,)` bool stand at the times `t` `(B,)`; who stood before stays."""
    before = torch.full_like(t, math.nan) if stopped is None else stopped
    return torch.where(lost & before.isnan(), t, before)


def default_grid(denoiser: Denoiser, steps: int, *, stochastic: bool = False, s_max: float = math.inf) -> Tensor:
    """The grid for who names none: in the angle, or uniform in log-SNR for stochastic methods; from `s_max` down."""
    sd = denoiser.data_std
    if stochastic:
        high, low = min(80 * sd, s_max), min(grids.S_MIN * sd, s_max / 10)
        return grids.uniform_log_snr(denoiser.schedule, steps, s_max=high, s_min=low)
    return grids.angular(denoiser.schedule, steps, scale=2 * sd, s_max=s_max)


def finite(solver: Solver, t: Tensor, **coefficients: Tensor) -> None:
    """Refuses a plan with infinite coefficients in one line.

    Raises:
        ValueError: for a coefficient that is not finite: its name, and the time.
    """
    for name, c in coefficients.items():
        bad = ~torch.isfinite(c)
        if bool(bad.any()):
            raise ValueError(
                f"{type(solver).__name__}: coefficient {name} is not finite at t = {float(t[bad.nonzero()[0, 0]]):g}, "
                "where the process is singular. Start the grid below it, e.g. grids.uniform_log_snr(schedule, steps)."
            )


class AffineStep(NamedTuple):
    """x_s = x x_t + x0 D(x_t, t) + noise z."""

    x: float
    x0: float
    noise: float


class AffineSolver(Solver):
    """One evaluation a step, x_s = a x_t + b E[x0 | x_t] + c z: a method is its three coefficients.

    DDPM, DDIM, Euler and Euler-Maruyama are all of this form. Wherever sigma(s) = 0 the step
    is x_s = alpha(s) E[x0 | x_t].
    """

    @property
    def increments(self) -> bool:
        return True

    @abc.abstractmethod
    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(a, b, c), each `(N,)`, float64."""

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> list[AffineStep]:
        a, b, c = self.weights(denoiser, t, s)
        alpha_s, sigma_s = denoiser.schedule(s)
        last = sigma_s == 0
        a, b, c = torch.where(last, 0.0, a), torch.where(last, alpha_s, b), torch.where(last, 0.0, c)
        finite(self, t, x=a, x0=b, noise=c)
        return [AffineStep(*row) for row in zip(floats(a), floats(b), floats(c), strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        a, b, c = step.coefficients
        x0 = denoise(state.x, step.t)
        x = torch.add(state.x * a, x0, alpha=b)
        if c:
            x = x.add_(normals(step.index), alpha=c)
        return State(x, x0)


@dataclass(frozen=True)
class Coordinate:
    """A grid read on another path z = a(u) x0/sd + b(u) eps with the same noise ratio: z = scale x, u the path's time.

    Every process is every other up to a change of scale and of clock, so "the variable a solver integrates in" is a
    schedule: EDM's is the VE path, flow matching's the rectified one, and on `Cosine(0)` Gaussian data moves on a
    circle.
    """

    u: Tensor
    scale: Tensor  # z / x
    x0_rate: Tensor  # dz/du = x0_rate x0 + eps_rate eps
    eps_rate: Tensor
    t: Tensor  # the process's time

    @classmethod
    def of(cls, path: Schedule | None, denoiser: Denoiser, t: Tensor, scale: float = 1.0) -> Coordinate:
        """The points of the path with the noise ratios of the process at `t`; `sd` is `scale` times data_std.

        Raises:
            ValueError: for a path that does not reach one of these noise ratios.
        """
        if path is None:
            return cls.at(path, denoiser, t)
        sd = scale * denoiser.data_std
        alpha, sigma = denoiser.schedule(t)
        u = path.time_of_log_snr(torch.log(alpha * sd / sigma))
        a, b = path(u)
        reached = torch.isclose(b * alpha * sd, a * sigma, rtol=1e-6, atol=1e-9)
        if not bool(reached.all()):
            worst = float((sigma / alpha / sd)[~reached][0])
            raise ValueError(
                f"path {path} does not reach the noise ratio sigma / (alpha data_std) = {worst:g} of the grid"
            )
        return cls._between(path, denoiser, u, t, sd)

    @classmethod
    def at(cls, path: Schedule | None, denoiser: Denoiser, u: Tensor) -> Coordinate:
        """The points at the path's own times `u`, which must lie between ones that `of` has found."""
        schedule = denoiser.schedule
        if path is None:
            return cls(u, torch.ones_like(u), *schedule.rates(u), u)
        a, b = path(u)
        sd = denoiser.data_std
        return cls._between(path, denoiser, u, schedule.time_of_log_snr(torch.log(a / b) - math.log(sd)), sd)

    @classmethod
    def _between(cls, path: Schedule, denoiser: Denoiser, u: Tensor, t: Tensor, sd: float) -> Coordinate:
        (a, b), (alpha, sigma) = path(u), denoiser.schedule(t)
        # not torch.hypot: its last bit depends on where in its vector a number stands
        scale = torch.sqrt((a * a + b * b) / ((alpha * sd) ** 2 + sigma * sigma))
        x0_rate, eps_rate = path.rates(u)
        return cls(u, scale, x0_rate / sd, eps_rate, t)

    def slope(self, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
        """(p, q) with dz/du = p x + q D: eps is (x - alpha D) / sigma."""
        alpha, sigma = denoiser.schedule(self.t)
        return self.eps_rate / sigma, self.x0_rate - self.eps_rate * alpha / sigma
