"""Networks that name a class: the first half of a denoiser's network, then the mean over positions and a linear layer.

`net(x, level)` is the logits `(B, num_classes)` of p(class | x at that noise level), whatever the size of x. The logits
start at zero: every class is as likely as any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from scorefield.networks.blocks import Stage, Style, descent
from scorefield.networks.conditioning import Condition, mechanism
from scorefield.networks.layers import norm, require_positive, zero
from scorefield.networks.mlp import MLPBlock
from scorefield.networks.resampling import CONV, fold, pad_to


class UNetEncoder(nn.Module):
    """The descending half of a `UNet`, on maps `(B, in_channels, *n)` of one or two dimensions and any size.

    Args:
        in_channels: of the image or series.
        num_classes: logits.
        width, multipliers, blocks, attention, dropout, patch, dims, level_embedding: as in `UNet`.
        conditioning, attention_levels, head_channels: as in `UNet`.

    Raises:
        ValueError: for dims other than 1 or 2, and as `UNet`; when called, for an x of another number of channels or
            axes.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
        patch: int = 1,
        *,
        dims: int = 2,
        level_embedding: str = "sinusoidal",
        conditioning: str = "film",
        attention_levels: Sequence[int] = (),
        head_channels: int = 32,
    ) -> None:
        super().__init__()
        self.in_channels, self.num_classes, self.width, self.multipliers = (
            in_channels,
            num_classes,
            width,
            tuple(multipliers),
        )
        self.blocks, self.attention, self.dropout, self.patch, self.dims = blocks, attention, dropout, patch, dims
        self.level_embedding, self.conditioning = level_embedding, conditioning
        self.attention_levels, self.head_channels = tuple(attention_levels), head_channels
        require_positive("UNetEncoder", in_channels=in_channels, num_classes=num_classes, width=width, blocks=blocks)
        require_positive("UNetEncoder", patch=patch, multipliers=min(self.multipliers, default=0))
        if dims not in CONV:
            raise ValueError(f"UNetEncoder: dims must be 1 or 2; got {dims}")
        entering = mechanism(conditioning)
        embedded = entering.widening * width
        self.condition = Condition(embedded, level_embedding=level_embedding)
        style = Style(
            condition=embedded, dims=dims, conditioning=conditioning, dropout=dropout, head_channels=head_channels
        )
        self.told = entering.input(embedded)
        self.entry = style.conv(in_channels * patch**dims + self.told.extra, width)
        self.stages, self.descents, now = nn.ModuleList(), nn.ModuleList(), width
        for i, multiplier in enumerate(self.multipliers):
            if i:
                self.descents.append(descent(now, style))
            level = nn.ModuleList()
            for _ in range(blocks):
                level.append(Stage(now, width * multiplier, style, attention=i in self.attention_levels))
                now = width * multiplier
            self.stages.append(level)
        self.centre = Stage(now, now, style, attention=attention)
        self.norm, self.exit = norm(now), zero(nn.Linear(now, num_classes))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        if x.ndim != 2 + self.dims or x.shape[1] != self.in_channels:
            axes = "L" if self.dims == 1 else "H, W"
            raise ValueError(f"x must have shape (B, {self.in_channels}, {axes}); got {tuple(x.shape)}")
        context = self.condition(level)
        h = self.entry(self.told(fold(pad_to(x, self.patch), self.patch), context.vector))
        for i, stages in enumerate(self.stages):
            if i:
                h = self.descents[i - 1](h, context.vector)
            for stage in stages:  # type: ignore[reportGeneralTypeIssues]
                h = stage(h, context)
        h = self.centre(h, context)
        return self.exit(nn.functional.silu(self.norm(h)).flatten(2).mean(2))


class MLPEncoder(nn.Module):
    """The blocks of an `MLP` on flattened events of `dim` entries.

    Args:
        dim: entries of an event.
        num_classes: logits.
        hidden, depth, level_embedding, conditioning, dropout: as in `MLP`.

    Raises:
        ValueError: when called, for events of another size.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        hidden: int = 128,
        depth: int = 3,
        *,
        level_embedding: str = "sinusoidal",
        conditioning: str = "film",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("MLPEncoder", dim=dim, num_classes=num_classes, hidden=hidden, depth=depth)
        self.dim, self.num_classes, self.hidden, self.depth = dim, num_classes, hidden, depth
        self.level_embedding, self.conditioning, self.dropout = level_embedding, conditioning, dropout
        self.condition = Condition(hidden, level_embedding=level_embedding)
        self.told = mechanism(conditioning).input(hidden)
        self.entry = nn.Linear(dim + self.told.extra, hidden)
        self.blocks = nn.ModuleList(MLPBlock(hidden, hidden, conditioning, dropout) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), zero(nn.Linear(hidden, num_classes)))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        if math.prod(x.shape[1:]) != self.dim:
            raise ValueError(f"x must have {self.dim} entries in each event; got shape {tuple(x.shape)}")
        condition = self.condition(level).vector
        h = self.entry(self.told(x.reshape(len(x), self.dim), condition))
        for block in self.blocks:
            h = block(h, condition)
        return self.exit(h)
