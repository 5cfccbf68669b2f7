"""A residual multilayer perceptron, for vectors and tables."""

from __future__ import annotations

import math

from torch import Tensor, nn

from scorefield.networks.embeddings import Condition, zero


class MLP(nn.Module):
    """`depth` residual blocks of width `hidden` on flattened events of `dim` entries; any event shape of that size.

    A block is h + W silu(layernorm(h) (1 + scale) + shift), with scale and shift linear in the embedding of noise level
    and class. The output layer starts at zero.
    """

    def __init__(self, dim: int, hidden: int = 128, depth: int = 3, num_classes: int | None = None) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("hidden", hidden), ("depth", depth)):
            if value < 1:
                raise ValueError(f"MLP: {name} must be at least 1; got {value}")
        self.dim, self.hidden, self.depth, self.num_classes = dim, hidden, depth, num_classes
        self.condition = Condition(hidden, num_classes=num_classes)
        self.entry = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(MLPBlock(hidden, hidden) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), zero(nn.Linear(hidden, dim)))

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        if math.prod(x.shape[1:]) != self.dim:
            raise ValueError(f"x must have {self.dim} entries in each event; got shape {tuple(x.shape)}")
        condition = self.condition(level, label)
        h = self.entry(x.reshape(len(x), self.dim))
        for block in self.blocks:
            h = block(h, condition)
        return self.exit(h).reshape(x.shape)


class MLPBlock(nn.Module):
    """h + W silu(layernorm(h) (1 + scale) + shift), (scale, shift) linear in `condition`."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(condition, 2 * width)
        self.linear = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, 1)
        return h + self.linear(nn.functional.silu(self.norm(h) * (1 + scale) + shift))
