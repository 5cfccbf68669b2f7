"""Averages of the weights along training: the network to sample from.

    classic   average <- d average + (1 - d) weights
    power     d = (1 - 1/t)^(gamma + 1) at the t-th update: weights of step tau count as tau^gamma

The power-function average keeps its relative width, sigma_rel, at any length of training, and its profiles span each
other: from a few stored snapshots of two widths, `reconstruct` gives the average of nearly any other.

References:
    Karras et al. 2024, Analyzing and improving the training dynamics of diffusion models (EDM2), section 3 and app. C.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

M = TypeVar("M", bound=nn.Module)


class _Average(Generic[M]):
    """A copy of a module whose weights move a little towards the original's at each `update`. Buffers are copied."""

    def __init__(self, module: M) -> None:
        self.module: M = copy.deepcopy(module).eval().requires_grad_(False)
        self.updates = 0
        self.follow(module)

    def follow(self, module: nn.Module) -> None:
        """Averages the weights `module` has now: to be called again when they have been replaced, as by sharding."""
        self._average, self._weights = _floating(self.module), _floating(module)
        self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))

    def decay_at(self, update: int) -> float:
        """d at the `update`-th update, from 1."""
        raise NotImplementedError

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the module's present weights."""
        self.updates += 1
        if self._average:
            weight = 1 - self.decay_at(self.updates)
            torch._foreach_lerp_(self._average, self._weights, weight)  # type: ignore[reportPrivateImportUsage]
        for kept, present in self._buffers:
            kept.copy_(present)

    def state(self) -> dict[str, Any]:
        """The plain values beside the averaged weights."""
        return {"updates": self.updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.updates = state["updates"]


class EMA(_Average[M]):
    """d = min(decay, (k + 1) / (k + 10)) at the k-th update.

    The ramp forgets the random initial weights: after k updates the average looks back over about a tenth of them,
    until that is the decay's own length. `ramp=False` uses `decay` from the start.
    """

    def __init__(self, module: M, decay: float = 0.999, *, ramp: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1); got {decay}")
        super().__init__(module)
        self.decay, self.ramp = decay, ramp

    def decay_at(self, update: int) -> float:
        return min(self.decay, (update + 1) / (update + 10)) if self.ramp else self.decay


class PowerEMA(_Average[M]):
    """d = (1 - 1/t)^(gamma + 1): the mean of all weights so far, those of step tau counted tau^gamma times.

    `sigma_rel` is the width of that profile as a share of the training so far (0.05 and 0.1 are EDM2's).
    """

    def __init__(self, module: M, sigma_rel: float = 0.1) -> None:
        super().__init__(module)
        self.sigma_rel, self.gamma = sigma_rel, gamma_of(sigma_rel)

    def decay_at(self, update: int) -> float:
        return (1 - 1 / update) ** (self.gamma + 1)


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a profile of that relative width: sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))."""
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(f"sigma_rel must lie in (0, 0.2887), the width of a plain mean; got {sigma_rel}")
    roots = np.roots([1, 7, 16 - sigma_rel**-2, 12 - sigma_rel**-2])
    return float(roots.real.max())


class Snapshot(NamedTuple):
    """A power-function average as it was after `step` updates."""

    step: int
    sigma_rel: float
    weights: Mapping[str, Tensor]


def reconstruct(snapshots: Sequence[Snapshot], sigma_rel: float, step: int | None = None) -> dict[str, Tensor]:
    """The power-function average of width `sigma_rel` at `step` (the last snapshot's), from stored ones.

    Least squares over the profiles, whose inner products are in closed form; the weights then combine as the profiles
    do (EDM2, algorithm 3).
    """
    step = max(s.step for s in snapshots) if step is None else step
    steps, gammas = [s.step for s in snapshots], [gamma_of(s.sigma_rel) for s in snapshots]
    gram = np.array([[_inner(a, g, b, h) for b, h in zip(steps, gammas, strict=True)]
                     for a, g in zip(steps, gammas, strict=True)])  # fmt: skip
    aim = np.array([_inner(a, g, step, gamma_of(sigma_rel)) for a, g in zip(steps, gammas, strict=True)])
    scale = 1 / np.sqrt(np.diag(gram))
    shares = np.linalg.lstsq(gram * scale[:, None] * scale, aim * scale, rcond=1e-12)[0] * scale
    return average([s.weights for s in snapshots], shares.tolist())


def _inner(a: float, g: float, b: float, h: float) -> float:
    """The integral of two profiles' product, (g+1) t^g / a^(g+1) on [0, a] and (h+1) t^h / b^(h+1) on [0, b]."""
    end = min(a, b)
    log = g * math.log(end / a) + h * math.log(end / b) + math.log(end / a) - math.log(b)
    return (g + 1) * (h + 1) / (g + h + 1) * math.exp(log)


def average(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """sum_i share_i weights_i, added up in float64; equal shares unless given. Integers are taken from the last.

    Raises:
        ValueError: if the weights are not of one network.
    """
    shares = [1 / max(len(weights), 1)] * len(weights) if shares is None else shares
    if not weights or len(shares) != len(weights):
        raise ValueError(f"as many shares as weights are needed, at least one; got {len(shares)} and {len(weights)}")
    first = weights[0]
    for other in weights:
        if other.keys() != first.keys() or any(other[name].shape != first[name].shape for name in first):
            raise ValueError("weights of different networks cannot be averaged: names or shapes differ")
    result = {}
    for name, like in first.items():
        if not like.is_floating_point():
            result[name] = weights[-1][name]
            continue
        total = sum((share * w[name].double() for share, w in zip(shares, weights, strict=True)), torch.zeros(()))
        result[name] = total.to(like.dtype)
    return result


def _floating(module: nn.Module) -> list[Tensor]:
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    return [p.to_local() if isinstance(p, DTensor) else p for p in parameters]
