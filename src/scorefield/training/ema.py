"""Exponential moving average of weights: the network to sample from."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """average <- d average + (1 - d) weights at each update, with d = min(decay, (k + 1) / (k + 10)) at the k-th.

    The ramp forgets the random initial weights: after k updates the average looks back over about a tenth of them,
    until that is the decay's own length. `ramp=False` uses `decay` from the start. Buffers are copied, not averaged.
    """

    def __init__(self, module: M, decay: float = 0.999, *, ramp: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1); got {decay}")
        self.decay, self.ramp, self.updates = decay, ramp, 0
        self.module: M = copy.deepcopy(module).eval().requires_grad_(False)
        self._average: list[Tensor] = [p for p in self.module.parameters() if p.is_floating_point()]
        self._weights: list[Tensor] = [p for p in module.parameters() if p.is_floating_point()]
        self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the module's present weights."""
        k = self.updates + 1
        decay = min(self.decay, (k + 1) / (k + 10)) if self.ramp else self.decay
        if self._average:
            torch._foreach_lerp_(self._average, self._weights, 1 - decay)  # type: ignore[reportPrivateImportUsage]
        for kept, present in self._buffers:
            kept.copy_(present)
        self.updates = k
