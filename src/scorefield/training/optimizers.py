"""Optimisers and learning-rate decays, as values.

`AdamW()` and `Muon()` say how weights move; `build(module, lr)` makes the torch optimisers that do it, and a decay is a
function (step, steps, warmup) -> factor of the peak learning rate.

Muon moves a hidden weight matrix W (rows, columns) along the orthogonal factor of its momentum,

    M <- mu M + (1 - mu) G,    N = (1 - mu) G + mu M (Nesterov),    W <- W - lr 0.2 sqrt(max(rows, columns)) U V^T,

N = U S V^T, so that every direction of the input learns at the same rate; U V^T comes from five Newton-Schulz
iterations, X <- a X + (b X X^T + c (X X^T)^2) X. The factor gives its steps the size of AdamW's.

References:
    Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; Liu et al. 2025 (the factor).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from scorefield.training import distributed

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
    """Muon for the hidden matrices (a convolution is one of `(out, in * kernel)`), AdamW for everything else.

    Args:
        lr_ratio: of Muon's learning rate to AdamW's.
        momentum: mu.
        outer: names of modules at any depth whose weights are left to AdamW: the first and last layer, embeddings, a
            loss's own.
    """

    lr_ratio: float = 10.0
    momentum: float = 0.95
    adamw: AdamW = AdamW()
    outer: tuple[str, ...] = ("entry", "exit", "condition", "loss")

    def build(self, module: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        hidden, rest = [], []
        for name, p in module.named_parameters():
            if p.requires_grad:
                inner = p.ndim >= 2 and not set(name.split(".")) & set(self.outer)
                (hidden if inner else rest).append(p)
        built: list[torch.optim.Optimizer] = [self.adamw.of(rest, lr)] if rest else []
        return [*built, Orthogonal(hidden, self.lr_ratio * lr, self.momentum)] if hidden else built


class Orthogonal(torch.optim.Optimizer):
    """Muon's update of the module's text, for parameters of at least two dimensions."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            momentum = group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - momentum)
                matrix = p.grad.lerp(average, momentum).flatten(1)
                size = 0.2 * math.sqrt(max(matrix.shape))
                factor = distributed.split_as(orthogonalized(matrix), p)
                p.sub_(factor.reshape(p.shape), alpha=group["lr"] * size)


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """An approximation of U V^T, `matrix` = U S V^T: singular values between 0.7 and 1.2, unless they are tiny.

    The quintic's coefficients are Jordan et al.'s, which trade exactness at 1 for slope at 0.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


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
