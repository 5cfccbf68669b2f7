"""Convolutional blocks for images `(B, C, H, W)`. No sample's result depends on the rest of its batch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.networks.embeddings import zero


def norm(channels: int, *, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm in at most 8 groups of at least 4 channels."""
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0 and (channels // g >= 4 or g == 1))
    return nn.GroupNorm(groups, channels, affine=affine)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip; the second's input is normalised with a scale and shift from `condition`.

    The second convolution starts at zero: a new block is the identity (or its 1x1 projection).
    """

    def __init__(self, channels_in: int, channels: int, condition: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = norm(channels, affine=False)
        self.film = nn.Linear(condition, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = F.silu(self.norm2(h) * (1 + scale) + shift)
        return self.skip(x) + self.conv2(self.dropout(h))


class Attention(nn.Module):
    """Self-attention over positions, heads of at most 32 channels, added to its input; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 32)
        if channels % self.heads:
            raise ValueError(f"channels must be a multiple of {self.heads} heads; got {channels}")
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(x.shape)
        return x + self.out(h)


def fold(x: Tensor, patch: int) -> Tensor:
    """Squares of `patch` pixels a side into channels: `(B, C, H, W)` to `(B, C patch^2, H / patch, W / patch)`."""
    batch, channels, height, width = x.shape  # torch's pixel_unshuffle refuses an empty batch
    x = x.reshape(batch, channels, height // patch, patch, width // patch, patch).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * patch**2, height // patch, width // patch)


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // patch**2, patch, patch, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // patch**2, height * patch, width * patch)
