"""A linear map known only by what it does, and by what its transpose does, as a differentiable function.

The derivative of x -> A x is A in forward mode and A^T in reverse, and that of A^T is the pair turned round: so
whatever computes the two (sparse matrices, SciPy, another library) differentiates to every order and under `vmap`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
Owner = TypeVar("Owner")


def takes_empty(method: Callable[[Owner, Tensor], Tensor]) -> Callable[[Owner, Tensor], Tensor]:
    """The method, for no rows too: Fourier transforms and some paddings refuse an empty batch."""

    @functools.wraps(method)
    def wrapped(self: Owner, x: Tensor) -> Tensor:
        return method(self, x) if len(x) else method(self, x.new_zeros(1, *x.shape[1:]))[:0]

    return wrapped


def linear(x: Tensor, apply: Map, transpose: Map) -> Tensor:
    """apply(x), where `transpose` is its adjoint and both take batches."""
    return _Linear.apply(x, apply, transpose)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, apply: Map, transpose: Map) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.map, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return linear(grads[0], ctx.transposed, ctx.map), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return linear(tangents[0], ctx.map, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, apply: Map, transpose: Map) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0] or 0, 0)
        return linear(x.flatten(0, 1), apply, transpose).unflatten(0, x.shape[:2]), 0
