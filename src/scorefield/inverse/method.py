"""What a method of drawing from a posterior is given, and what it returns."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.inverse.measurement import Likelihood
from scorefield.randomness import Noise
from scorefield.schedules import Schedule

SLOTS = 2**32  # of one observation
PURE = 1e3  # sigma / alpha, in the data's standard deviations, that passes for pure noise


@dataclass(frozen=True, eq=False)
class Task:
    """Whole systems of particles that are drawn together: R rows, system after system.

    Attributes:
        observation: `(R,)` int64, the row of `likelihood` each particle sees.
        index: `(R,)` int64, the number its noise is keyed by.
        size: particles in a system; R is a multiple of it.
        exact: whether every product must have the shape of all R rows.
    """

    denoiser: Denoiser
    likelihood: Likelihood
    observation: Tensor
    index: Tensor
    size: int
    seed: int
    dtype: torch.dtype
    cond: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    @property
    def systems(self) -> int:
        return len(self.index) // self.size

    @property
    def own(self) -> Likelihood:
        """The observations, one for each row."""
        return self.likelihood.rows(self.observation)

    def normal(self, draw: int, shape: tuple[int, ...] | None = None) -> Tensor:
        """`(R, *event)` unless another shape is given: then use another draw, or the same numbers come again."""
        event = self.likelihood.event_shape if shape is None else shape
        return Noise(self.seed, self.index, tuple(event), torch.float64).normal(draw)

    def uniform(self, draw: int) -> Tensor:
        """`(G, K)`, one for each particle."""
        return Noise(self.seed, self.index, (), torch.float64).uniform(draw).reshape(self.systems, self.size)

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t] float64 of `x_t` `(R, *event)` in any dtype."""
        return self.denoiser(x_t.to(self.dtype), t, **self.cond).double()

    def initial(self, t: Tensor) -> Tensor:
        """x_t from the Gaussian of its mean and variance, draw 0, float64."""
        mean, std = self.denoiser.prior(t)
        z = self.normal(0)
        return std * z + (mean.to(z) if isinstance(mean, Tensor) else mean)


class Drawn(NamedTuple):
    """What a method returns of a task."""

    x: Tensor  # (R, *event)
    log_evidence: Tensor | None = None  # (G,)
    ess: Tensor | None = None  # (G,), share of the particles
    residual: Tensor | None = None  # (R,)


class Cost(NamedTuple):
    """Of one path of one particle."""

    nfe: int  # network evaluations
    vjps: int = 0  # vector-Jacobian products through the network, each about 2 evaluations


class Method(abc.ABC):
    """A way to draw from p(x0 | y); a frozen dataclass."""

    particles: int = 1
    times: Tensor | None = None  # a grid of its own, where it takes one

    def steps(self, nfe: int) -> int:
        """Progress steps of a run of at most `nfe` evaluations, one each unless the method says otherwise.

        Raises:
            ValueError: for an nfe that is too small.
        """
        if nfe < 1:
            raise ValueError(f"nfe must be at least 1; got {nfe}")
        return nfe if self.times is None else len(self.times) - 1

    @abc.abstractmethod
    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        """All rows of the task; `advance` is called after each of its steps."""

    @abc.abstractmethod
    def cost(self, nfe: int, dim: int) -> Cost:
        """What `draw` takes for a path, the event having `dim` numbers."""

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:  # noqa: B027
        """Refuses what the method cannot do, in one line."""

    def elements(self, dim: int) -> int:
        """Numbers held for a row, of which a chunk is made."""
        return dim


def grid(denoiser: Denoiser, nfe: int) -> Tensor:
    """nfe steps for a stochastic sampler that ends at t = 0: even in the angle, a little finer near the data."""
    times = grids.angular(denoiser.schedule, nfe, power=1.2, scale=denoiser.data_std, onset=1.0)
    return below_pure_noise(denoiser, times)


def below_pure_noise(denoiser: Denoiser, times: Tensor) -> Tensor:
    """`times`, but for a start where alpha = 0: there D does not depend on x_t, and its derivative says nothing of x0.

    It moves to a noise of PURE standard deviations of the data, where x_t is noise to one part in a million.
    """
    schedule = denoiser.schedule
    if float(schedule.alpha(times[0])) > 0:
        return times
    ratio = max(PURE * denoiser.data_std, 2 * float(schedule.noise_ratio(times[1])))
    return torch.cat([schedule.time_of_log_snr(-math.log(ratio)).reshape(1), times[1:]])
