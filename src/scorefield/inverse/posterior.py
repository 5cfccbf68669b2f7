"""`condition`: a prior and a likelihood make a posterior, and a method draws from it.

Sample j of observation i is a function of (seed, i, j) alone: its noise has the number 2^32 i + j, and where a method
lets particles compete, they do so within systems of a fixed size, slots [g K, (g + 1) K) of one observation, whatever
else is asked for. So a batch of one observation and one of 256 give the same samples, in any chunks: to rounding, which
a method that stops, accepts or resamples by a threshold may turn into a sample that is as good but another; and with
`exact` to the bit, since then a chunk is always as many systems of one observation, and a system keeps its place in it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield._caller import warn
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating, require, require_denoiser
from scorefield.denoisers.gradients import outside_inference
from scorefield.inverse.doubts import doubts
from scorefield.inverse.measurement import GaussianNoise, Likelihood
from scorefield.inverse.method import SLOTS, Drawn, Method, Task
from scorefield.inverse.recommended import name_of, recommended
from scorefield.particles import log_mean
from scorefield.sampling.parts import CHUNK_ELEMENTS, EXACT_CHUNK, bar


@dataclass(frozen=True, eq=False)
class PosteriorSamples:
    """Samples of p(x0 | y) for B observations, n of each, and how good they are."""

    x: Tensor  # (B, n, *event)
    nfe: int  # network evaluations of one path
    total_nfe: float  # of a whole system of particles, for each sample that was asked for
    vjps: int  # vector-Jacobian products of one path, each about two evaluations more
    dof: int  # numbers measured
    chi2: Tensor | None = None  # (B, n): sum of ((y - A(x)) / noise_std)^2; about dof + (what the prior adds)
    log_evidence: Tensor | None = None  # (B,): log p(y)
    ess: Tensor | None = None  # (B,): the smallest effective share of the particles, mean over systems
    residual: Tensor | None = None  # (B, n): the largest relative residual of the linear solves

    @property
    def mean(self) -> Tensor:
        """`(B, *event)`."""
        return self.x.mean(1)

    @property
    def std(self) -> Tensor:
        """`(B, *event)`, of the n samples."""
        return self.x.std(1)

    @property
    def reduced_chi2(self) -> Tensor | None:
        """chi2 / dof, `(B, n)`: about 1 where the samples explain the data to within their noise."""
        return None if self.chi2 is None else self.chi2 / max(self.dof, 1)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """(low, high), each `(B, *event)`: the central credible interval of every number by itself.

        The quantiles of n samples are those of n + 1 equal shares, so that a new draw falls inside with probability
        `level` exactly, as far as n allows: at least 2 / (1 - level) - 1 samples (19 for 0.9), else it is the range.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}")
        n = self.x.shape[1]
        ordered = self.x.sort(1).values
        at = min(max((1 - level) / 2 * (n + 1) - 1, 0.0), (n - 1) / 2)
        i, part = math.floor(at), at - math.floor(at)
        j = min(i + 1, n - 1)
        low = ordered[:, i] + part * (ordered[:, j] - ordered[:, i])
        high = ordered[:, n - 1 - i] + part * (ordered[:, n - 1 - j] - ordered[:, n - 1 - i])
        return low, high


@dataclass(frozen=True, eq=False)
class Posterior:
    """p(x0 | y) of a denoiser's prior; made by `condition`."""

    denoiser: Denoiser
    likelihood: Likelihood
    method: Method
    cond: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        nfe: int = 50,
        seed: int = 0,
        first_index: int = 0,
        chunk: int | None = None,
        exact: bool = False,
        progress: bool = False,
        dtype: torch.dtype | None = None,
    ) -> PosteriorSamples:
        """n samples for each of the B observations; what speaks against them is said in warnings (`inverse.doubts`).

        Args:
            nfe: network evaluations of a path, at most. A method with particles runs whole systems of them.
            seed, first_index: sample j of observation i is a function of (seed, first_index + i, j) alone.
            chunk: particles at a time, rounded up to whole systems; chosen by memory unless given.
            exact: the same bits whatever else is asked for, on one machine: every observation is drawn in chunks of
                its own, of exactly `chunk` particles (32 unless given), filled up with samples beyond the n-th.
            progress: show a bar.
            dtype: of the network's input; by default that of its parameters, or of y.

        Raises:
            ValueError: for n, nfe or chunk too small.
        """
        n, nfe, first_index = operator.index(n), operator.index(nfe), operator.index(first_index)  # of NumPy, too
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        method, likelihood = self.method, self.likelihood
        size, batch, dim = method.particles, len(likelihood), math.prod(likelihood.event_shape)
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1; got {chunk}")
        per = -(-n // size)  # systems of an observation
        rows = operator.index(chunk or 0) or max(1, CHUNK_ELEMENTS // method.elements(dim))
        if exact and not chunk:
            rows = min(rows, EXACT_CHUNK)
        at_once, steps = -(-rows // size) if chunk else max(1, rows // size), method.steps(nfe)
        held = -(-per // at_once) * at_once if exact else per  # the systems drawn for an observation
        parts = [range(low, min(low + at_once, batch * held)) for low in range(0, batch * held, at_once)]
        drawn: list[Drawn] = []
        chi2: list[Tensor | None] = []
        told = bar(progress, len(parts) * steps, "conditioning")
        with outside_inference(), evaluating(self.denoiser), told as advance:  # methods differentiate
            for part in parts:
                task = self._task(part, held, seed, first_index, dtype, exact)
                drawn.append(method.draw(task, nfe, advance))
                own = task.own
                chi2.append(own.chi2(drawn[-1].x) if isinstance(own, GaussianNoise) else None)
        cost = method.cost(nfe, dim)
        x = self._of_samples([d.x for d in drawn], n, held)
        if x is None:
            x = torch.empty(0, n, *likelihood.event_shape, device="cpu")
        evidence = _of_systems([d.log_evidence for d in drawn], per, held)
        ess = _of_systems([d.ess for d in drawn], per, held)
        made = PosteriorSamples(
            x,
            cost.nfe,
            cost.nfe * size * per / n,
            cost.vjps,
            math.prod(likelihood.operator.output_shape) if isinstance(likelihood, GaussianNoise) else 0,
            self._of_samples(chi2, n, held),
            None if evidence is None else log_mean(evidence),
            None if ess is None else ess.mean(1),
            self._of_samples([d.residual for d in drawn], n, held),
        )
        for line in doubts(made.x, made.dof, made.chi2, made.ess, made.residual, size):
            warn(f"{name_of(method)}, {nfe} evaluations: {line}")
        return made

    def _task(self, part: range, per: int, seed: int, first_index: int, dtype: torch.dtype | None, exact: bool) -> Task:
        """The systems of those numbers, counted through all observations, `per` to each."""
        size = self.method.particles
        own = next((p for p in self.denoiser.parameters() if p.is_floating_point()), None)
        if dtype is None:
            y = self.likelihood.y.dtype if isinstance(self.likelihood, GaussianNoise) else torch.float32
            dtype = own.dtype if own is not None else y
        device = own.device if own is not None else torch.device("cpu")
        system = torch.arange(part.start, part.stop, device=device).repeat_interleave(size)
        slot = torch.arange(size, device=device).repeat(len(part))
        observation = system // per
        index = (first_index + observation) * SLOTS + (system % per) * size + slot
        told = Conditions.of(self.cond, len(self.likelihood), dtype, device, what="observations").rows(observation)
        return Task(self.denoiser, self.likelihood, observation, index, size, seed, dtype, told, exact)

    def _of_samples(self, parts: list[Tensor | None], n: int, per: int) -> Tensor | None:
        """Rows of whole systems to `(B, n, ...)`: what a last system has beyond n is left out."""
        held = [p for p in parts if p is not None]
        if not held:
            return None
        rows = torch.cat(held)
        return rows.reshape(len(self.likelihood), per * self.method.particles, *rows.shape[1:])[:, :n]


def _of_systems(parts: list[Tensor | None], per: int, held: int) -> Tensor | None:
    """`(B, per)`, of the `held` that were drawn."""
    drawn = [p for p in parts if p is not None]
    return torch.cat(drawn).reshape(-1, held)[:, :per] if drawn else None


def condition(
    denoiser: Denoiser,
    likelihood: Likelihood,
    method: Method | None = None,
    *,
    cond: Mapping[str, Any] | None = None,
) -> Posterior:
    """The posterior p(x0 | y) under the prior of `denoiser`.

    Args:
        denoiser: E[x0 | x_t] of the prior, on events of the shape the likelihood's operator takes.
        likelihood: of B observations.
        method: how to draw from it; `recommended(likelihood)` unless given.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
            What belongs to a sample is its observation's.

    Raises:
        TypeError: for what is no denoiser, or no likelihood.
        ValueError: for a likelihood the method cannot use, a condition of another length than the observations.
    """
    require_denoiser("denoiser", denoiser)
    require(denoiser, "score", "condition")
    if not isinstance(likelihood, Likelihood):
        raise TypeError(f"likelihood must be a Likelihood, such as GaussianNoise; got {type(likelihood).__name__}")
    method = recommended(likelihood) if method is None else method
    method.check(denoiser, likelihood)
    return Posterior(denoiser, likelihood, method, Conditions.of(cond, len(likelihood), what="observations"))
