"""Numbers and arrays as tensors that stay where they are, and what is asked of a user's.

`torch.set_default_device` moves what is made of numbers, and schedules, grids and plans are float64 on the CPU whatever
the network's device (a GPU is slow at float64, and Apple's has none): in this package a factory says its device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def as_tensor(value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """`value` as a tensor: a tensor on its own device, anything else on the CPU."""
    if isinstance(value, Tensor):
        return value if dtype is None else value.to(dtype)
    return torch.as_tensor(value, dtype=dtype, device="cpu")


def traced(*tensors: Tensor) -> bool:
    """Whether a program is being made of what is computed here, by torch.compile, torch.export or torch.func.vmap: what
    `tensors` hold cannot be looked at then, and checks of values are left to whoever calls without."""
    if torch.compiler.is_compiling():
        return True
    return any(_of_many(tensor) for tensor in tensors)


def _of_many(tensor: Tensor) -> bool:
    """Whether vmap runs over `tensor`, itself or beneath what other transforms of torch.func made of it."""
    functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]  # not annotated
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def require_batch(name: str, x: Any) -> None:
    """Refuses what is no floating point tensor `(B, *event)`.

    Raises:
        TypeError: for no tensor.
        ValueError: for integers, or a number.
    """
    if not isinstance(x, Tensor):
        hint = f": torch.from_numpy({name})" if type(x).__module__ == "numpy" else ""
        raise TypeError(f"{name} must be a tensor of shape (B, *event); got {type(x).__name__}{hint}")
    if not x.is_floating_point() or x.ndim < 1:
        raise ValueError(f"{name} must be floating point of shape (B, *event); got {x.dtype}, {tuple(x.shape)}")
