"""bfloat16 where it is faster.

Autocast chooses a precision for each operation, but on a CPU two of its choices cost more than they save: the backward
pass of fused attention takes 1.2 (256 positions) to 4 times (64 positions) as long in bfloat16 as in float32, and group
normalisation of bfloat16 maps whose channels lie together several times as long as of maps in the usual order, which
is what most networks hand it after attention. `autocast` makes the other choice there, for any network.

A processor without bfloat16 instructions emulates them, and a step takes ten times as long: `native` says which it is,
and training stays in float32 there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def native(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices itself."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextlib.contextmanager
def autocast(device: torch.device, enabled: bool) -> Iterator[None]:
    """torch.autocast to bfloat16 on `device`; nothing unless `enabled`."""
    replaced = _Replaced(_ON_CPU) if enabled and device.type == "cpu" else contextlib.nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled), replaced:
        yield


class _Replaced(TorchFunctionMode):
    """Calls of some functions go to others of the same arguments."""

    def __init__(self, table: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.table.get(func, func)(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **by: Any,
) -> Tensor:
    """In float32, rounded to what bfloat16 attention would return."""
    q, k, v = (a.float() for a in (query, key, value))
    mask = attn_mask.float() if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, **by).to(query.dtype)


def _group_norm(input: Tensor, *more: Any, **by: Any) -> Tensor:
    """Of channel after channel in memory."""
    return F.group_norm(input.contiguous() if input.dtype == torch.bfloat16 else input, *more, **by)


_ON_CPU = {F.scaled_dot_product_attention: _attention, F.group_norm: _group_norm}
