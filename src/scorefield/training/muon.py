"""Muon: momentum whose step is made orthogonal, for the weight matrices inside a network.

With the momentum M = U S V^T of a weight W `(rows, columns)`, the step is its nearest (semi-)orthogonal matrix,

    W <- W - lr 0.2 sqrt(max(rows, columns)) U V^T,

the steepest descent of the linearised loss under a bound on the spectral norm of the step: all directions move alike,
the rare ones too. The factor gives a step whose entries have a root mean square of 0.2 lr, AdamW's usual size.
U V^T comes from five steps of X <- a X + b (X X^T) X + c (X X^T)^2 X, which act on each singular value alone,
s <- a s + b s^3 + c s^5, and bring those between 0.0015 and 1 to between 0.68 and 1.21: near enough to 1, and
matrix products only. A convolution's weight `(out, in, h, w)` is the matrix `(out, in h w)`.

References:
    Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks (the coefficients).
    Liu et al. 2025, Muon is scalable for LLM training (the factor).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from scorefield.training import distributed

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MuonOptimizer(torch.optim.Optimizer):
    """For parameters of two dimensions or more; give the others, and first and last layers, to AdamW.

    Args:
        params: of 2 or more dimensions.
        lr: the same scale as AdamW's, and about ten times as large.
        momentum: of the gradient's exponential average, with Nesterov's look-ahead.
        weight_decay: times `lr`, decoupled.
        dtype: of the matrix products; float32 where bfloat16 is slow.

    Raises:
        ValueError: for a vector among the parameters, or a number out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"lr and weight_decay must not be negative and momentum must lie in [0, 1); "
                f"got {lr}, {weight_decay} and {momentum}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(f"params must have 2 or more dimensions; got one of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients at hand; parameters without one stay."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "average" not in state:
                    state["average"] = torch.zeros_like(p)
                average = state["average"].lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(average, momentum).flatten(1)
                update = distributed.split_as(orthogonal(ahead, dtype=group["dtype"]).to(p.dtype), p)
                p.mul_(1 - lr * group["weight_decay"])
                p.sub_(update.reshape(p.shape), alpha=lr * 0.2 * max(ahead.shape) ** 0.5)


def orthogonal(matrix: Tensor, *, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """About U V^T of `matrix` `(rows, columns)` = U S V^T: its singular vectors, and singular values near 1.

    A singular value below 0.0015 of the Frobenius norm stays smaller than 0.68; the zero matrix stays zero. In `dtype`,
    the matrix's own unless given.
    """
    a, b, c = COEFFICIENTS
    x = matrix.to(dtype or matrix.dtype)
    x = x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)
    wide = x if x.shape[0] <= x.shape[1] else x.mT  # the Gram matrix of the shorter side
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.mT


def matrices(module: nn.Module, *, skip: Iterable[nn.Module] = ()) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """`module`'s parameters for Muon, and all the others for AdamW.

    Muon's are the weights of linear layers and convolutions outside the submodules `skip`: name there the first and the
    last layer and what embeds the condition, whose rows are not directions to be levelled.
    """
    skipped = {id(p) for m in skip for p in m.parameters()}
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    chosen = {id(m.weight) for m in layers} - skipped
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [p for p in parameters if id(p) in chosen], [p for p in parameters if id(p) not in chosen]
