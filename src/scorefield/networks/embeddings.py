"""What tells a network how noisy its input is, and of which class: vectors `(B, width)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Sinusoidal(nn.Module):
    """(cos(w_i level), sin(w_i level)) at `features / 2` frequencies, geometric from `low` to `high` radians.

    The defaults suit levels of order one: t itself, or log(sigma / alpha) / 4.
    """

    frequencies: Tensor

    def __init__(self, features: int, *, low: float = 0.5, high: float = 16.0) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise ValueError(f"features must be even and at least 2; got {features}")
        exponents = torch.linspace(math.log(low), math.log(high), features // 2, dtype=torch.float64)
        self.register_buffer("frequencies", exponents.exp().float(), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        angles = level[:, None] * self.frequencies.to(level.dtype)
        return torch.cat([angles.cos(), angles.sin()], 1)


class Condition(nn.Module):
    """One vector for the noise level and, with `num_classes`, the class: `(B,)`, `(B,)` int64 -> `(B, width)`.

    Class `num_classes` is the null class: the unconditional model. A label of None means it for the whole batch.
    """

    def __init__(self, width: int, *, num_classes: int | None = None, features: int = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.level = nn.Sequential(Sinusoidal(features), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        if num_classes is not None:
            if num_classes < 1:
                raise ValueError(f"num_classes must be at least 1, or None; got {num_classes}")
            self.label = nn.Embedding(num_classes + 1, width)

    def forward(self, level: Tensor, label: Tensor | None = None) -> Tensor:
        vector = self.level(level)
        if self.num_classes is None:
            if label is not None:
                raise ValueError("label was given to a network built without num_classes")
        elif label is None:
            vector = vector + self.label.weight[self.num_classes]
        else:
            if label.shape != level.shape:
                raise ValueError(
                    f"label must have shape {tuple(level.shape)}, one for each x; got {tuple(label.shape)}"
                )
            vector = vector + self.label(label)
        return nn.functional.silu(vector)


def zero(layer: nn.Module) -> nn.Module:
    """`layer` with its parameters set to zero: a branch that starts by adding nothing."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer
