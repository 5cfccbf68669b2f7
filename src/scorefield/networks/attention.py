"""Attention between positions, and from positions to tokens. No sample's result depends on the rest of its batch.

attend(q, k, v) = softmax(q k^T / sqrt(c)) v,      c the channels of a head                  (Vaswani et al. 2017)
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.networks.layers import norm, zero
from scorefield.networks.resampling import CONV


def head_count(channels: int, head_channels: int) -> int:
    """Heads of `head_channels` each, one at least, that share the channels evenly.

    Raises:
        ValueError: for channels that these heads do not divide.
    """
    heads = max(1, channels // head_channels)
    if channels % heads:
        raise ValueError(f"channels must be a multiple of {heads} heads; got {channels}")
    return heads


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of queries `(B, N, C)` to keys and values `(B, L, C)`: `(B, N, C)`.

    The channels are split into `heads` groups. `mask` `(B, L)` bool is True where a key counts; every sample
    needs one that does.
    """
    q, k, v = (a.unflatten(2, (heads, -1)).transpose(1, 2) for a in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])
    return out.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention between the positions of a sequence `(B, N, C)`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).chunk(3, 2)
        return self.out(attend(q, k, v, self.heads))


class CrossAttention(nn.Module):
    """Attention of the positions of a sequence `(B, N, C)` to tokens `(B, L, token_dim)`; starts at zero."""

    def __init__(self, channels: int, token_dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.q, self.kv = heads, nn.Linear(channels, channels), nn.Linear(token_dim, 2 * channels)
        self.out = zero(nn.Linear(channels, channels))

    def forward(self, h: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        k, v = self.kv(tokens).chunk(2, 2)
        return self.out(attend(self.q(h), k, v, self.heads, mask))


class Attention(nn.Module):
    """x + attention between the positions of a map `(B, C, *n)`; starts as the identity, times `skip_scale`."""

    def __init__(self, channels: int, *, dims: int = 2, head_channels: int = 32, skip_scale: float = 1.0) -> None:
        super().__init__()
        self.heads, self.skip_scale = head_count(channels, head_channels), skip_scale
        self.norm = norm(channels)
        self.qkv = CONV[dims](channels, 3 * channels, 1)
        self.out = zero(CONV[dims](channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        # fused attention wants the channels of a position side by side, and is left out where they are not
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).contiguous().chunk(3, 2)
        h = attend(q, k, v, self.heads).transpose(1, 2).reshape(x.shape)
        return (x + self.out(h)) * self.skip_scale


class TokenAttention(nn.Module):
    """x + attention of the positions of a map `(B, C, *n)` to tokens; starts as the identity, times `skip_scale`."""

    def __init__(self, channels: int, token_dim: int, *, head_channels: int = 32, skip_scale: float = 1.0) -> None:
        super().__init__()
        self.norm, self.skip_scale = norm(channels), skip_scale
        self.attention = CrossAttention(channels, token_dim, head_count(channels, head_channels))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.attention(self.norm(x).flatten(2).transpose(1, 2), tokens, mask)
        return (x + h.transpose(1, 2).reshape(x.shape)) * self.skip_scale
