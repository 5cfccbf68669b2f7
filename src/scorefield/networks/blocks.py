"""The blocks of a U-Net, on maps `(B, C, *n)` of one or two dimensions, as `Style` says.

    block(x, c) = (S R x + W2 dropout silu(norm(W1 R silu(norm(x)); c))) k

with W convolutions, S a 1x1 convolution where the channels change, R a change of resolution or nothing, and k 1 or
1 / sqrt(2). The condition c enters at the second norm (`conditioning`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.networks.attention import Attention, TokenAttention
from scorefield.networks.conditioning import Context, mechanism
from scorefield.networks.dropout import Dropout
from scorefield.networks.layers import norm, zero
from scorefield.networks.resampling import CONV, Down, Up


@dataclass(frozen=True, kw_only=True)
class Style:
    """What all blocks of a network share."""

    condition: int  # width of the condition's vector
    dims: int = 2
    conditioning: str = "film"
    dropout: float = 0.0
    skip_scale: float = 1.0
    head_channels: int = 32
    token_dim: int | None = None  # of the tokens that stages with attention read
    resample: str = "conv"
    resample_in_block: bool = False

    def conv(self, channels_in: int, channels: int, *, stride: int = 1) -> nn.Module:
        """A convolution over 3 positions each way."""
        return CONV[self.dims](channels_in, channels, 3, stride=stride, padding=1)


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip; the second's input is normalised as `style.conditioning` says.

    The second convolution starts at zero: a new block is the identity (or its 1x1 projection, or the change of
    resolution), times `style.skip_scale`.
    """

    def __init__(self, channels_in: int, channels: int, style: Style, *, resample: Down | Up | None = None) -> None:
        super().__init__()
        self.skip_scale, self.resample = style.skip_scale, resample
        self.norm1 = norm(channels_in)
        self.conv1 = style.conv(channels_in, channels)
        make_norm = functools.partial(norm, channels)
        self.norm2 = mechanism(style.conditioning).block(channels, style.condition, make_norm)
        self.dropout = Dropout(style.dropout)
        self.conv2 = zero(style.conv(channels, channels))
        self.skip = CONV[style.dims](channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor, *size: Sequence[int]) -> Tensor:
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h, *size), self.resample(x, *size)
        h = F.silu(self.norm2(self.conv1(h), condition))
        h = self.skip(x) + self.conv2(self.dropout(h))
        return h if self.skip_scale == 1 else h * self.skip_scale


class Stage(nn.Module):
    """A residual block, then, if asked for, attention between positions and to the tokens, if there are any."""

    def __init__(self, channels_in: int, channels: int, style: Style, *, attention: bool = False) -> None:
        super().__init__()
        self.block = ResidualBlock(channels_in, channels, style)
        heads, scale = style.head_channels, style.skip_scale
        self.attention = (
            Attention(channels, dims=style.dims, head_channels=heads, skip_scale=scale) if attention else None
        )
        self.tokens = (
            TokenAttention(channels, style.token_dim, head_channels=heads, skip_scale=scale)
            if attention and style.token_dim is not None
            else None
        )

    def forward(self, h: Tensor, context: Context) -> Tensor:
        h = self.block(h, context.vector)
        if self.attention is not None:
            h = self.attention(h)
        if self.tokens is not None and context.tokens is not None:
            h = self.tokens(h, context.tokens, context.mask)
        return h


class StridedDown(nn.Module):
    """A convolution at every second position."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.conv = style.conv(channels, channels, stride=2)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return self.conv(h)


class FilteredDown(nn.Module):
    """The filter of `style.resample`, then a convolution."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.down, self.conv = Down(style.dims, style.resample), style.conv(channels, channels)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return self.conv(self.down(h))


class FilteredUp(nn.Module):
    """The filter of `style.resample` to `size`, then a convolution."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.up, self.conv = Up(style.dims, style.resample), style.conv(channels, channels)

    def forward(self, h: Tensor, condition: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(self.up(h, size))


def descent(channels: int, style: Style) -> nn.Module:
    """`layer(h, condition)` halves the resolution."""
    if style.resample_in_block:
        return ResidualBlock(channels, channels, style, resample=Down(style.dims, style.resample))
    return StridedDown(channels, style) if style.resample == "conv" else FilteredDown(channels, style)


def ascent(channels: int, style: Style) -> nn.Module:
    """`layer(h, condition, size)` doubles the resolution, to `size`."""
    if style.resample_in_block:
        return ResidualBlock(channels, channels, style, resample=Up(style.dims, style.resample))
    return FilteredUp(channels, style)
