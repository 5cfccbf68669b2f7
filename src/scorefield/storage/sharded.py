"""Tensors and modules that may be split among processes (FSDP2), as wholes: what is written, and what is read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def class_of(module: object) -> type:
    """The class of a module as it was written: sharding derives one of its own."""
    return type(module).__bases__[1] if isinstance(module, FSDPModule) else type(module)


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded, on the CPU. All processes must call this together."""
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return tensor.detach().cpu().contiguous().clone()


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """`value`, a whole tensor, placed, sharded and, where shapes agree, laid out in memory as `tensor` is.

    Layout is visible in the last bit: sums are taken in the order of memory.
    """
    value = value.to(tensor.device, tensor.dtype)
    if isinstance(tensor, DTensor):
        return distribute_tensor(value, tensor.device_mesh, tensor.placements)
    return torch.empty_like(tensor).copy_(value) if value.shape == tensor.shape else value
