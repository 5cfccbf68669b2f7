"""Attention between positions, and from positions to tokens. No sample's result depends on the rest of its batch.

attend(q, k, v) = softmax(q k^T / sqrt(c)) v,      c the channels of a head                  (Vaswani et al. 2017)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad as fwAD
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
    keys = None if mask is None else mask[:, None, None, :]
    fused = F.scaled_dot_product_attention if _plain(q, k, v) else Attend.apply
    out = fused(q, k, v, keys)
    return out.transpose(1, 2).flatten(2)


def _plain(*tensors: Tensor) -> bool:
    """Whether nothing is asked of the fused kernel that it has not: it has first gradients at most, and so have
    compiled programs."""
    return torch.compiler.is_compiling() or (
        not torch.is_grad_enabled() and not any(fwAD.unpack_dual(a).tangent is not None for a in tensors)
    )


class Attend(torch.autograd.Function):
    """softmax(q k^T / sqrt(c)) v by the fused kernel, with the derivatives it lacks: forward, and of gradients.

    With p = softmax(s), s = q k^T / sqrt(c), and <.> the sum over keys,

        do = p (ds - <p ds>) v + p dv,    ds = (dq k^T + q dk^T) / sqrt(c)
        gv = p^T g,    gs = p (g v^T - <p g v^T>),    gq = gs k / sqrt(c),    gk = gs^T q / sqrt(c)

    where a first gradient is all that is wanted, it is the kernel's own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, mask = ctx.saved_tensors
        if not torch.is_grad_enabled():
            with torch.enable_grad():
                leaves = [a.detach().requires_grad_() for a in (q, k, v)]
                out = F.scaled_dot_product_attention(*leaves, attn_mask=mask)
            return *torch.autograd.grad(out, leaves, g), None
        c, p = q.shape[-1] ** -0.5, _weights(q, k, mask)
        along = g @ v.mT
        gs = p * (along - (p * along).sum(-1, keepdim=True)) * c
        return gs @ k, gs.mT @ q, p.mT @ g, None

    @staticmethod
    def jvp(ctx: Any, dq: Any, dk: Any, dv: Any, _: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, mask = ctx.saved_tensors
        p, out = _weights(q, k, mask), torch.zeros_like(q)
        if dq is not None or dk is not None:
            ds = sum(a @ b.mT for a, b in ((dq, k), (q, dk)) if a is not None and b is not None) * q.shape[-1] ** -0.5
            out = out + (p * (ds - (p * ds).sum(-1, keepdim=True))) @ v
        return out if dv is None else out + p @ dv


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    s = q @ k.mT * q.shape[-1] ** -0.5
    return torch.softmax(s if mask is None else s.masked_fill(~mask, -math.inf), -1)


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
