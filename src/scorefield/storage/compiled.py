"""Modules that torch.compile was given, whole or a part: in files they go by the names that they have without it.

It wraps a module in another one, `_orig_mod` in the name of each weight: net.block.weight becomes
net.block._orig_mod.weight. The weights are the same, so what was trained one way loads the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

T = TypeVar("T")


def uncompiled(part: Any) -> Any:
    """The module that torch.compile was given, or `part` itself: they share their weights, not their names."""
    return getattr(part, "_orig_mod", part) if isinstance(part, nn.Module) else part


def plain_name(name: str) -> str:
    """A weight's name without torch.compile's part in it, wherever that stands."""
    return name.replace("_orig_mod.", "")


def plain_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """A state dict by the names of the module that is not compiled."""
    return {plain_name(name): tensor for name, tensor in tensors.items()}
