"""Small layers that every network uses."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def zero(layer: M) -> M:
    """`layer` with its parameters set to zero: a branch that starts by adding nothing."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def norm(channels: int, *, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm in at most 8 groups of at least 4 channels."""
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0 and (channels // g >= 4 or g == 1))
    return nn.GroupNorm(groups, channels, affine=affine)


def require_positive(owner: str, **values: int) -> None:
    """Refuses sizes below 1.

    Raises:
        ValueError: for the first of `values` below 1, by name.
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{owner}: {name} must be at least 1; got {value}")
