"""Random directions v with E[v v^T] = I, the condition under which E[v^T J v] = tr J.

| law | Var[v^T J v], J symmetric | ||v||^2 |
| --- | --- | --- |
| Gaussian | 2 ||J||_F^2 | d on average |
| Rademacher | 2 sum_{i != j} J_ij^2 | d |
| sphere, of radius sqrt(d) | 2 d/(d + 2) (||J||_F^2 - (tr J)^2 / d) | d |

A sphere of radius 1 has E[v v^T] = I / d, and would estimate tr J / d: the minimiser of the variance-reduced sliced
loss would be the score divided by d.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.randomness import Randomness, randn_like

Projection = Callable[[Tensor, Randomness], Tensor]
"""`law(x, generator)`: directions of the shape of `x` `(B, *event)`, one for each sample."""


def gaussian(x: Tensor, generator: Randomness = None) -> Tensor:
    """N(0, I)."""
    return randn_like(x, generator)


def rademacher(x: Tensor, generator: Randomness = None) -> Tensor:
    """Signs, +1 or -1 each with probability 1/2."""
    z = randn_like(x, generator)
    return torch.where(z < 0, -torch.ones_like(z), 1.0)  # sign() would give 0 where a rounded normal is 0


def sphere(x: Tensor, generator: Randomness = None) -> Tensor:
    """Uniform on the sphere of radius sqrt(d), d the event's size."""
    z = randn_like(x, generator)
    norm = torch.linalg.vector_norm(z.reshape(len(z), math.prod(z.shape[1:])), dim=1)
    return z * (math.sqrt(math.prod(z.shape[1:])) / norm).reshape(-1, *[1] * (z.ndim - 1))
