"""A residual multilayer perceptron, for vectors and tables.

    h_0 = W_in x,    h_(k+1) = h_k + W_k dropout(silu(layernorm(h_k; c))),    output = W_out silu(layernorm(h_depth))

with the condition c (noise level, class, vector, mean of the tokens) in each block's normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from scorefield.networks.conditioning import Condition, mechanism
from scorefield.networks.dropout import Dropout
from scorefield.networks.layers import require_positive, zero


class MLP(nn.Module):
    """`depth` residual blocks of width `hidden` on flattened events of `dim` entries; any event shape of that size.

    A block is h + W dropout(silu(layernorm(h; c))), where the condition c (noise level, class, vector, mean of the
    tokens) enters the normalisation as `conditioning` says. The output layer starts at zero.

    Args:
        dim: entries of an event.
        hidden, depth: width and number of blocks.
        num_classes: makes it conditional on `label` `(B,)` int64.
        vector_dim: makes it conditional on `vector` `(B, vector_dim)`.
        token_dim: makes it conditional on `tokens` `(B, L, token_dim)`, by the mean of their projections.
        scalars: names of further numbers `(B,)` it may be told, such as a flow map's `until` (see `Condition`).
        level_embedding: "sinusoidal", "fourier" or "learned".
        conditioning: "film", "add" or "concat" (see `conditioning.py`).
        dropout: inside the blocks.

    Raises:
        ValueError: for sizes below 1, or another embedding or mechanism; when called, for events of another size.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        *,
        vector_dim: int | None = None,
        token_dim: int | None = None,
        scalars: Sequence[str] = (),
        level_embedding: str = "sinusoidal",
        conditioning: str = "film",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("MLP", dim=dim, hidden=hidden, depth=depth)
        self.dim, self.hidden, self.depth, self.num_classes = dim, hidden, depth, num_classes
        self.vector_dim, self.token_dim, self.level_embedding = vector_dim, token_dim, level_embedding
        self.scalars = tuple(scalars)
        self.conditioning, self.dropout = conditioning, dropout
        entering = mechanism(conditioning)
        self.condition = Condition(
            hidden,
            num_classes=num_classes,
            vector_dim=vector_dim,
            token_dim=token_dim,
            scalars=scalars,
            pool=True,
            level_embedding=level_embedding,
        )
        self.conditions = self.condition.names
        self.told = entering.input(hidden)
        self.entry = nn.Linear(dim + self.told.extra, hidden)
        self.blocks = nn.ModuleList(MLPBlock(hidden, hidden, conditioning, dropout) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), zero(nn.Linear(hidden, dim)))

    def forward(self, x: Tensor, level: Tensor, label: Any = None, **cond: Any) -> Tensor:
        if math.prod(x.shape[1:]) != self.dim:
            raise ValueError(f"x must have {self.dim} entries in each event; got shape {tuple(x.shape)}")
        condition = self.condition(level, label, **cond).vector
        h = self.entry(self.told(x.reshape(x.shape[0], self.dim), condition))
        for block in self.blocks:
            h = block(h, condition)
        return self.exit(h).reshape(x.shape)


class MLPBlock(nn.Module):
    """h + W dropout(silu(layernorm(h; condition)))."""

    def __init__(self, width: int, condition: int, conditioning: str = "film", dropout: float = 0.0) -> None:
        super().__init__()

        def norm(*, affine: bool) -> nn.Module:
            return nn.LayerNorm(width, elementwise_affine=affine)

        self.norm = mechanism(conditioning).block(width, condition, norm)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return h + self.linear(self.dropout(nn.functional.silu(self.norm(h, condition))))
