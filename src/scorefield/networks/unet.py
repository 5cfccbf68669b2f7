"""A small 2-D U-Net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.networks.blocks import Attention, ResidualBlock, fold, norm, unfold
from scorefield.networks.embeddings import Condition, zero


class UNet(nn.Module):
    """Residual blocks on images `(B, in_channels, H, W)` of any size, odd and non-square too.

    Level i works at 1 / 2^i of the resolution (rounded up) with `width * multipliers[i]` channels: `blocks` residual
    blocks going down, as many plus one going up, each of which also sees the features kept on the way down.

    Args:
        in_channels: of the image.
        width: channels at the full resolution.
        multipliers: of the width, one for each resolution.
        blocks: residual blocks for each resolution and direction.
        attention: self-attention in the middle, at the lowest resolution.
        num_classes: makes it conditional on `label`; class `num_classes` is the null class.
        dropout: inside the residual blocks.
        patch: fold squares of this many pixels a side into channels at the entry, and unfold them at the exit:
            `patch`^2 fewer positions for every convolution, so `width` can be larger for the same work.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        attention: bool = True,
        num_classes: int | None = None,
        dropout: float = 0.0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.width, self.multipliers, self.blocks = in_channels, width, tuple(multipliers), blocks
        self.attention, self.num_classes, self.dropout, self.patch = attention, num_classes, dropout, patch
        if min(in_channels, width, blocks, patch, len(self.multipliers), *self.multipliers) < 1:
            raise ValueError(
                f"UNet: in_channels, width, multipliers, blocks and patch must be at least 1; got {self.config}"
            )
        condition = 4 * width
        self.condition = Condition(condition, num_classes=num_classes)
        channels = [width * m for m in self.multipliers]

        def block(channels_in: int, channels_out: int) -> ResidualBlock:
            return ResidualBlock(channels_in, channels_out, condition, dropout=dropout)

        self.entry = nn.Conv2d(in_channels * patch**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, kept = width, [width]
        for i, c in enumerate(channels):
            if i:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
            for _ in range(blocks):
                self.down.append(block(now, c))
                now = c
                kept.append(c)
        self.middle = block(now, now)
        self.mixing = Attention(now) if attention else nn.Identity()
        for i, c in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(block(now + kept.pop(), c))
                now = c
            if i:
                self.up.append(nn.Conv2d(now, now, 3, padding=1))
        self.exit = nn.Sequential(norm(now), nn.SiLU(), zero(nn.Conv2d(now, in_channels * patch**2, 3, padding=1)))

    @property
    def config(self) -> dict[str, object]:
        """The constructor's arguments."""
        names = ("in_channels", "width", "multipliers", "blocks", "attention", "num_classes", "dropout", "patch")
        return {name: getattr(self, name) for name in names}

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"x must have shape (B, {self.in_channels}, H, W); got {tuple(x.shape)}")
        condition = self.condition(level, label)
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        h = self.entry(fold(padded, self.patch))
        kept = [h]
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, ResidualBlock) else layer(h)
            kept.append(h)
        h = self.mixing(self.middle(h, condition))
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                h = layer(torch.cat([h, kept.pop()], 1), condition)
            else:  # to the size of what comes next on the way up: odd sizes too
                h = layer(F.interpolate(h, size=kept[-1].shape[2:], mode="nearest"))
        return unfold(self.exit(h), self.patch)[:, :, :height, :width]
