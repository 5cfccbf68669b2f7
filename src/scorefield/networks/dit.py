"""A transformer on patches, modulated by the condition: DiT with adaLN-zero (Peebles & Xie 2023).

With (a1, b1, g1, a2, b2, g2) = A c linear in the condition's vector, from A = 0, a block is

    h <- h + g1 attention(norm(h) (1 + a1) + b1)
    h <- h + cross-attention(norm(h), tokens)                 where it was built for tokens
    h <- h + g2 mlp(norm(h) (1 + a2) + b2)

so it starts as the identity, and the whole network, whose last layer starts at zero too, as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from scorefield.networks.attention import CrossAttention, SelfAttention
from scorefield.networks.conditioning import Condition, Context
from scorefield.networks.dropout import Dropout
from scorefield.networks.embeddings import grid_positions
from scorefield.networks.layers import require_positive, zero
from scorefield.networks.resampling import crop, fold, pad_to, unfold


class DiT(nn.Module):
    """Transformer blocks on the patches of images `(B, in_channels, H, W)` of any size.

    Sizes that the patch does not divide are filled up with zeros and cropped at the end. Positions are sines and
    cosines of row and column, computed for the grid at hand.

    Args:
        in_channels: of the image.
        patch: pixels a side of a patch.
        width: of the tokens that stand for patches, a multiple of 4 and of `heads`.
        depth, heads: blocks, and attention heads in each.
        num_classes: makes it conditional on `label` `(B,)` int64.
        vector_dim: makes it conditional on `vector` `(B, vector_dim)`.
        token_dim: makes it conditional on `tokens` `(B, L, token_dim)`, by cross-attention in every block.
        scalars: names of further numbers `(B,)` it may be told, such as a flow map's `until` (see `Condition`).
        level_embedding: "sinusoidal", "fourier" or "learned".
        dropout: in the blocks' MLPs.
        mlp_ratio: width of the blocks' MLPs over `width`.

    Raises:
        ValueError: for sizes below 1, or a width that 4 or the heads do not divide; when called, for an x of another
            number of channels or axes.
    """

    def __init__(
        self,
        in_channels: int,
        patch: int = 2,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        num_classes: int | None = None,
        *,
        vector_dim: int | None = None,
        token_dim: int | None = None,
        scalars: Sequence[str] = (),
        level_embedding: str = "sinusoidal",
        dropout: float = 0.0,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "patch": patch, "width": width, "depth": depth, "heads": heads}
        require_positive("DiT", **sizes, mlp_ratio=mlp_ratio)
        if width % 4 or width % heads:
            raise ValueError(f"DiT: width must be a multiple of 4 and of heads = {heads}; got {width}")
        self.in_channels, self.patch, self.width, self.depth, self.heads = in_channels, patch, width, depth, heads
        self.num_classes, self.vector_dim, self.token_dim = num_classes, vector_dim, token_dim
        self.scalars = tuple(scalars)
        self.level_embedding, self.dropout, self.mlp_ratio = level_embedding, dropout, mlp_ratio
        self.condition = Condition(
            width,
            num_classes=num_classes,
            vector_dim=vector_dim,
            token_dim=token_dim,
            scalars=scalars,
            level_embedding=level_embedding,
        )
        self.conditions = self.condition.names
        self.entry = nn.Linear(in_channels * patch**2, width)
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, token_dim=token_dim, dropout=dropout, mlp_ratio=mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.exit = zero(nn.Linear(width, in_channels * patch**2))

    def forward(self, x: Tensor, level: Tensor, label: Any = None, **cond: Any) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"x must have shape (B, {self.in_channels}, H, W); got {tuple(x.shape)}")
        context = self.condition(level, label, **cond)
        patches = fold(pad_to(x, self.patch), self.patch)
        rows, columns = patches.shape[2:]
        h = self.entry(patches.flatten(2).transpose(1, 2))
        h = h + grid_positions(rows, columns, self.width, device=h.device).to(h.dtype)
        for block in self.blocks:
            h = block(h, context)
        scale, shift = self.modulation(context.vector)[:, None].chunk(2, 2)
        h = self.exit(self.norm(h) * (1 + scale) + shift)
        return crop(unfold(h.transpose(1, 2).reshape(patches.shape), self.patch), x.shape[2:])


class DiTBlock(nn.Module):
    """Attention and an MLP on a sequence `(B, N, width)`, each scaled, shifted and gated by the condition."""

    def __init__(
        self, width: int, heads: int, *, token_dim: int | None = None, dropout: float = 0.0, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 6 * width))
        self.attention = SelfAttention(width, heads)
        self.tokens = None if token_dim is None else CrossAttention(width, token_dim, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width),
            nn.GELU(approximate="tanh"),
            Dropout(dropout),
            nn.Linear(mlp_ratio * width, width),
        )

    def forward(self, h: Tensor, context: Context) -> Tensor:
        a1, b1, g1, a2, b2, g2 = self.modulation(context.vector)[:, None].chunk(6, 2)
        h = h + g1 * self.attention(self.norm(h) * (1 + a1) + b1)
        if self.tokens is not None and context.tokens is not None:
            h = h + self.tokens(self.norm(h), context.tokens, context.mask)
        return h + g2 * self.mlp(self.norm(h) * (1 + a2) + b2)
