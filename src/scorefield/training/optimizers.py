"""Optimisers and learning-rate decays, as values.

`AdamW()` and `Muon()` say how weights move; `build(module, lr)` makes the torch optimisers that do it, and a decay is a
function (step, steps, warmup) -> factor of the peak learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from scorefield.training import muon, precision

Decay = Callable[[int, int, int], float]


class Optimizer(Protocol):
    """What `fit` needs: the torch optimisers of a module, each group with its own peak `lr`."""

    def build(self, module: nn.Module, lr: float) -> list[torch.optim.Optimizer]: ...


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), fused."""

    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def build(self, module: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        return [self.of([p for p in module.parameters() if p.requires_grad], lr)]

    def of(self, weights: list[nn.Parameter], lr: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(weights, lr=lr, betas=self.betas, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class Muon:
    """Muon (see `training.muon`) for the matrices inside a network, AdamW for everything else.

    Args:
        lr_ratio: of Muon's learning rate to AdamW's.
        momentum: of Muon's average.
        bf16: its matrix products in bfloat16, where the device has them: faster, and rounding that differs between one
            process and two is no longer small beside a step.
        outer: names of submodules, at any depth, that are left to AdamW: the first and last layer, the condition,
            a loss's own.
    """

    lr_ratio: float = 3.5
    momentum: float = 0.95
    bf16: bool = False
    adamw: AdamW = AdamW()
    outer: tuple[str, ...] = ("entry", "exit", "condition", "loss")

    def build(self, module: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        outer = [m for name, m in module.named_modules() if name.rpartition(".")[2] in self.outer]
        inner, rest = muon.matrices(module, skip=outer)
        built: list[torch.optim.Optimizer] = [self.adamw.of(rest, lr)] if rest else []
        if not inner:
            return built
        dtype = torch.bfloat16 if self.bf16 and precision.native(inner[0].device) else torch.float32
        return [*built, muon.MuonOptimizer(inner, self.lr_ratio * lr, momentum=self.momentum, dtype=dtype)]


def cosine(step: int, steps: int, warmup: int) -> float:
    """Linear from 0 over `warmup` steps, then a half cosine to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def constant(step: int, steps: int, warmup: int) -> float:
    """Linear from 0 over `warmup` steps, then 1."""
    return min(1.0, (step + 1) / max(1, warmup))


def inverse_sqrt(step: int, steps: int, warmup: int) -> float:
    """Linear from 0 over `warmup` steps, then sqrt(warmup / step): no end in sight (EDM2)."""
    warmup = max(1, warmup)
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))
