"""Conjugate gradients, each row by itself (Hestenes & Stiefel 1952).

A row stops when its own residual is small, and its sums are trees of elementwise additions: its bits do not depend on
the rest of the batch wherever those of the operator do not. Where those do (matrix and sparse products), rounding may
end a row that stands at its tolerance an iteration earlier or later: by then it moves by no more than that tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """Of a linear system, for each row."""

    x: Tensor  # (B, ...)
    residual: Tensor  # (B,), norm of what is left over norm of the right-hand side; 0 where solved in closed form
    iterations: Tensor  # (B,) int64; 0 in closed form


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], b: Tensor, *, tolerance: float = 1e-6, iterations: int = 500
) -> Solution:
    """u with apply(u) = b, from u = 0: `apply` symmetric and positive semi-definite, b in its range.

    Args:
        apply: takes and gives `(B, ...)`, row by row.
        tolerance: a row stops at a residual of this times the norm of its b.
        iterations: at most.
    """
    x, r, p = torch.zeros_like(b), b, b
    size = rr = dot(r, r)
    target = tolerance**2 * size
    count = torch.zeros(len(b), dtype=torch.int64, device=b.device)
    for _ in range(iterations):
        going = rr > target
        if not bool(going.any()):
            break
        ap = apply(p)
        curvature = dot(p, ap)
        going = going & (curvature > 0)  # nothing is left where p lies in the null space
        step = _column(torch.where(going, rr / torch.where(going, curvature, 1.0), 0.0), b)
        x, r = x + step * p, r - step * ap
        new = torch.where(going, dot(r, r), rr)
        p = torch.where(_column(going, b), r + _column(new / torch.where(going, rr, 1.0), b) * p, p)
        rr = torch.where(going, new, torch.minimum(rr, target))
        count += going
    return Solution(x, (dot(r, r) / torch.where(size > 0, size, 1.0)).sqrt(), count)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, `(B,)`: by halves, so in the same order whatever the batch and the number of threads."""
    y = (a * b).flatten(1)
    odd = []
    while y.shape[1] > 1:
        half = y.shape[1] // 2
        if y.shape[1] % 2:
            odd.append(y[:, -1])
        y = y[:, :half] + y[:, half : 2 * half]
    total = y.sum(1)
    for rest in odd:
        total = total + rest
    return total


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (like.ndim - 1))
