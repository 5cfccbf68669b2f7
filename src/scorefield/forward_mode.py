"""Forward-mode derivatives of a network, each of its large layers done twice and not three times.

torch gives every weight that has no tangent one of zeros, and works it through: a convolution is then done a third
time, and each sum is planned in Python. But along x a layer that is affine in it moves as its linear part,

    y = W x + b,      dy = W dx

so the layers that the time goes into are told so, and layer normalisation is told its own rule,

    n = (x - mean(x)) / s,      dn = (dx - mean(dx) - n mean(n dx)) / s,      s^2 = var(x) + eps

whose gradient torch's has wrong by tens of percent without a word (2.13: it forgets that mean and deviation depend on
the input). `benchmarks/forward_mode.py` measures what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

AFFINE = frozenset(
    {nn.functional.linear, nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d,
     nn.functional.conv_transpose1d, nn.functional.conv_transpose2d, nn.functional.conv_transpose3d}
)  # fmt: skip


def jvp(fn: Callable[..., Tensor], inputs: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """fn(*inputs), and its derivative along the tangents; both have gradients of their own, and may be nested.

    Raises:
        RuntimeError: torch's, where an operation of `fn` has no forward mode.
    """
    with _Rules(), sdpa_kernel(SDPBackend.MATH):  # the second for attention of a network of one's own: fused has none
        out, moved = torch.func.jvp(fn, inputs, tangents)[:2]
    return out, moved


class _Rules(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.layer_norm:
            return _layer_norm(*args, **kwargs)
        return _affine(func, *args, **kwargs) if func in AFFINE else func(*args, **kwargs)


def _affine(
    layer: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Any = None, *args: Any, **kwargs: Any
) -> Tensor:
    x, dx = forward_ad.unpack_dual(input)
    if dx is None or any(v is not None and forward_ad.unpack_dual(v).tangent is not None for v in (weight, bias)):
        return layer(input, weight, bias, *args, **kwargs)
    return forward_ad.make_dual(layer(x, weight, bias, *args, **kwargs), layer(dx, weight, None, *args, **kwargs))


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    x, dx = forward_ad.unpack_dual(input)
    centred = x - x.mean(axes, keepdim=True)
    rate = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    n = centred * rate
    out = n if weight is None else n * weight
    out = out if bias is None else out + bias
    if dx is None:
        return out
    moved = rate * (dx - dx.mean(axes, keepdim=True) - n * (n * dx).mean(axes, keepdim=True))
    return forward_ad.make_dual(out, moved if weight is None else moved * weight)
