"""Total variation, the baseline of linear inverse problems, by the primal-dual method of Chambolle and Pock (2011).

    min over x in [0, 1]^D of  1/2 |A x - y|^2 + weight sum_p |(grad x)_p|,

grad by forward differences, isotropic. With K = (A, grad), dual variables p of A x - y and q of the gradient:

    p <- (p + s (A xbar - y)) / (1 + s),    q <- the projection of q + r grad xbar onto |q_p| <= weight,
    x+ <- clip(x - tau (A^T p + grad^T q)),    xbar <- 2 x+ - x,

which converges for tau (s |A|^2 + r |grad|^2) <= 1; |grad|^2 <= 8, |A|^2 is found by power iterations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scorefield.inverse.operators import LinearOperator


def squared_norm(operator: LinearOperator, iterations: int = 30) -> float:
    """|A|^2, the largest eigenvalue of A^T A."""
    x = torch.rand(1, *operator.event_shape, generator=torch.Generator().manual_seed(0))
    norm = torch.ones(())
    for _ in range(iterations):
        x = operator.adjoint(operator(x))
        norm = x.norm()
        x = x / norm
    return float(norm)


def gradient(x: Tensor) -> Tensor:
    """Forward differences of images `(B, C, H, W)`: `(2, B, C, H, W)`, 0 at the last row and column."""
    down = torch.zeros_like(x)
    right = torch.zeros_like(x)
    down[..., :-1, :] = x.diff(dim=-2)
    right[..., :-1] = x.diff(dim=-1)
    return torch.stack([down, right])


def gradient_adjoint(q: Tensor) -> Tensor:
    """Minus the divergence."""
    down, right = q[0].clone(), q[1].clone()
    down[..., -1, :] = 0
    right[..., -1] = 0
    x = -down - right
    x[..., 1:, :] += down[..., :-1, :]
    x[..., 1:] += right[..., :-1]
    return x


def total_variation(operator: LinearOperator, y: Tensor, weight: float, *, iterations: int = 400) -> Tensor:
    """`(B, C, H, W)` from y `(B, *output_shape)`."""
    norm = squared_norm(operator)
    # the two parts of K get equal shares; tau balances a primal of size 1 against duals of the size of the residual
    tau = 0.05 if norm > 1 else 0.2
    s, r = 0.5 / (tau * norm), 0.5 / (tau * 8)
    x = torch.zeros(len(y), *operator.event_shape)
    ahead, p, q = x, torch.zeros_like(y), torch.zeros(2, *x.shape)
    for _ in range(iterations):
        p = (p + s * (operator(ahead) - y)) / (1 + s)
        q = q + r * gradient(ahead)
        q = q / (q.norm(dim=0) / weight).clamp(min=1)
        new = (x - tau * (operator.adjoint(p) + gradient_adjoint(q))).clamp(0, 1)
        ahead, x = 2 * new - x, new
    return x


def tuned_weight(
    operator: LinearOperator, truths: Tensor, y: Tensor, weights: Sequence[float], **options: int
) -> float:
    """The weight of the least squared error on other images than are reported."""
    errors = [float((total_variation(operator, y, weight, **options) - truths).square().mean()) for weight in weights]
    return weights[min(range(len(weights)), key=errors.__getitem__)]
