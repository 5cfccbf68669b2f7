"""Sequential Monte Carlo on the reverse process: posterior samples that are right in the limit, and p(y).

The prior is a chain p(x_1) prod p(x_s | x_t), the posterior that chain times p(y | x_0). Twists psi_t(x) that guess
p(y | x_t), with psi_0(x) = p(y | x) itself, turn it into a sequence of targets; particles move by a proposal r and
carry

    w = psi_1(x_1) prod  psi_s(x_s) p(x_s | x_t) / (psi_t(x_t) r(x_s | x_t)),

whose mean estimates p(y) without bias, and under whose weights the particles at 0 are posterior samples, exactly as the
number of particles grows, whatever psi and r are: they only decide how many it takes. Where the effective size of a
system falls below a share of it, its particles are resampled. Whether that is done, and which particle is chosen, turns
at a threshold: where the last bits of a weight differ, in another chunk or on another processor, a system may rarely go
on from other particles, as good as the first. `exact=True` keeps the bits.

The transition is that of the model: normal, with the moments that x0 ~ N(D, C) given x_t implies for the exact bridge
q(x_s | x_t, x0) = N(a x_t + b x0, q^2 I),

    p(x_s | x_t) = N(a x_t + b D, q^2 I + b^2 C),

which tends to the reverse process as the steps become small, and is it for Gaussian data at any steps.

References: Wu et al. 2023 (twisted diffusion sampler); Naesseth, Lindsten and Schoen 2019 (SMC).
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor

from scorefield.inverse.method import Cost, Drawn, Method, Task, below_pure_noise, grid
from scorefield.particles import effective_size, log_mean, shuffled, systematic, truncated
from scorefield.schedules import as_time


class Particles(Protocol):
    """The state of all particles at one time."""

    x: Tensor  # (R, *event) float64
    residual: Tensor | None  # (R,) of the linear solves so far, where they are iterative

    @property
    def determined(self) -> bool:
        """Whether the weights hold every factor, also those all particles share: only then they estimate p(y)."""
        ...

    def take(self, index: Tensor) -> Self:
        """The particles of those numbers, `(R,)`."""
        ...


@dataclass(frozen=True)
class ParticleMethod(Method):
    """The loop: weights, resampling, evidence. A method gives the start and the move.

    Args:
        particles: in a system; the samples of a system are its particles. More of them give more accurate mode weights.
        truncate: let no particle count for more than sqrt(particles) average ones when resampling. A rare large weight
            would take over its system; the bias this costs vanishes as the particles grow.
        threshold: resample where the effective size is below this share of the particles.
        times: the grid, decreasing to 0; by default `grid`.

    Raises:
        ValueError: for less than one particle, or a threshold outside [0, 1].
    """

    particles: int = 64
    truncate: bool = True
    threshold: float = 0.5
    times: Tensor | None = None

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1; got {self.particles}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1]; got {self.threshold}")

    @abc.abstractmethod
    def start(self, task: Task, t: Tensor) -> tuple[Particles, Tensor]:
        """(particles at the first time, log psi of each `(R,)`)."""

    @abc.abstractmethod
    def move(self, task: Task, particles: Particles, k: int, t: Tensor, s: Tensor) -> tuple[Particles, Tensor]:
        """(particles at s, the logs of the factors their weights gain `(R,)`); k is the number of the step."""

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe))

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        times = grid(task.denoiser, nfe) if self.times is None else below_pure_noise(task.denoiser, as_time(self.times))
        systems, size = task.systems, task.size
        first = (size * torch.arange(systems, device=task.index.device))[:, None]
        stay = torch.arange(size, device=task.index.device).expand(systems, size)
        particles, logs = self.start(task, times[0])
        weights, evidence = logs.reshape(systems, size), torch.zeros_like(first[:, 0], dtype=torch.float64)
        share = torch.ones_like(evidence)
        for k, (t, s) in enumerate(pairwise(times)):
            last = k == len(times) - 2
            ess = effective_size(weights) / size
            share = torch.minimum(share, ess)
            # Before the last move all are, so that the noise of that move tells copies apart.
            renew = torch.ones_like(ess, dtype=torch.bool) if last else ess < self.threshold
            index = torch.where(renew[:, None], self._chosen(weights, task.uniform(2 * k)[:, 0]), stay)
            evidence = evidence + torch.where(renew, log_mean(weights), 0.0)
            weights = torch.where(renew[:, None], 0.0, weights)
            if last:
                index = shuffled(index, task.uniform(2 * k + 1))
            particles, logs = self.move(task, particles.take((first + index).flatten()), k, t, s)
            weights = weights + logs.reshape(systems, size)
            advance()
        x = particles.x
        evidence = evidence + log_mean(weights)
        if bool((weights != weights[:, :1]).any()):  # a last move that was not exact
            share = torch.minimum(share, effective_size(weights) / size)
            end = len(times)
            index = shuffled(self._chosen(weights, task.uniform(2 * end)[:, 0]), task.uniform(2 * end + 1))
            x = x[(first + index).flatten()]
        return Drawn(x.to(task.dtype), evidence if particles.determined else None, share, particles.residual)

    def _chosen(self, weights: Tensor, uniform: Tensor) -> Tensor:
        return systematic(truncated(weights) if self.truncate else weights, uniform)
