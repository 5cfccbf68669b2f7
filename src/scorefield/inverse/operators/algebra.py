"""Operators of operators, and any function as an operator.

    Stacked    A x = (A_1 x, A_2 x, ...)        A^T y = A_1^T y_1 + A_2^T y_2 + ...        `stack(A_1, A_2)`
    Diagonal   A x = w x, entry by entry        A^T y = w y                                singular values |w|
    Affine     scale x + shift                  not linear, for its shift
    Nonlinear  any function, row by row

One after another, (A B) x = A (B x), and times a number, (c A) x = c (A x), stand with the operator itself, in `base`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators.base import SVD, LinearOperator, Operator, shape_of
from scorefield.tensors import as_tensor


class Nonlinear(Operator):
    """Any differentiable function `(B, *event_shape)` to `(B, *output_shape)`, each row by itself.

    Args:
        output_shape: what the function gives for one event of zeros, unless given.

    Raises:
        ValueError: if that does not have a row for each row; when a derivative is asked for that the function, which
            left torch or detached its result, does not have.
    """

    def __init__(
        self, fn: Callable[[Tensor], Tensor], event_shape: Sequence[int], output_shape: Sequence[int] | None = None
    ) -> None:
        self.fn, self.event_shape = fn, shape_of(type(self).__name__, event_shape)
        self.output_shape = probed(fn, self.event_shape) if output_shape is None else tuple(output_shape)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fn(x)
        if x.requires_grad and torch.is_grad_enabled() and not y.requires_grad:
            raise ValueError("the function has no derivative: its result must be made of x by operations of torch")
        return y


class Diagonal(LinearOperator):
    """y = w x, entry by entry: a unit for each channel, an aperture.

    Args:
        weights: of a shape that broadcasts to `event_shape`, (C, 1, 1) for channels.

    Raises:
        ValueError: for another shape.
    """

    def __init__(self, weights: Tensor, event_shape: Sequence[int]) -> None:
        self.event_shape = self.output_shape = shape_of(type(self).__name__, event_shape)
        self._weights = Buffer(broadcast("weights", as_tensor(weights), self.event_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self._weights.like(x) * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self._weights.like(y) * y

    def svd(self) -> SVD:
        w = self._weights.tensor.double().flatten()
        sign = Buffer(torch.where(w < 0, -1.0, 1.0).double())
        flat = lambda x: x.flatten(1)  # noqa: E731
        shaped = lambda c: c.reshape(len(c), *self.event_shape)  # noqa: E731
        return SVD(w.abs(), flat, shaped, lambda y: flat(y) * sign.like(y), lambda c: shaped(c * sign.like(c)))


class Affine(Operator):
    """scale x + shift, entry by entry; both of shapes that broadcast to the event, whose shape is `scale`'s."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        self.event_shape = self.output_shape = tuple(scale.shape)
        self._scale, self._shift = Buffer(scale), Buffer(broadcast("shift", shift, self.event_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self._scale.like(x) * x + self._shift.like(x)


class Stacked(Operator):
    """Several measurements of one x, flattened, one after another: `(M1 + M2 + ...,)`; `split(y)` parts them again.

    Raises:
        ValueError: unless all operators have the same event_shape.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        shapes = {tuple(operator.event_shape) for operator in operators}
        if len(shapes) != 1:
            raise ValueError(f"stack needs operators of one event_shape; got {sorted(shapes) or 'none'}")
        self.operators = tuple(operators)
        self.sizes = [math.prod(operator.output_shape) for operator in operators]
        self.event_shape, self.output_shape = shapes.pop(), (sum(self.sizes),)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([operator.forward(x).flatten(1) for operator in self.operators], 1)

    def split(self, y: Tensor) -> list[Tensor]:
        """Each operator's part of y, in its own shape."""
        parts = y.split(self.sizes, 1)
        return [
            part.reshape(len(y), *operator.output_shape) for part, operator in zip(parts, self.operators, strict=True)
        ]


class LinearStacked(Stacked, LinearOperator):
    """(A1 x, A2 x, ...)."""

    operators: tuple[LinearOperator, ...]  # type: ignore[assignment]

    def adjoint(self, y: Tensor) -> Tensor:
        parts = [operator.adjoint(part) for operator, part in zip(self.operators, self.split(y), strict=True)]
        return sum(parts[1:], parts[0])


def stack(*operators: Operator) -> Stacked:
    """Several measurements of one x as one; linear if all are.

    Raises:
        ValueError: unless all have the same event_shape.
    """
    linear = all(isinstance(operator, LinearOperator) for operator in operators)
    return LinearStacked(operators) if linear else Stacked(operators)


def probed(fn: Callable[[Tensor], Tensor], event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a function gives for one event.

    Raises:
        ValueError: if that does not have a row for each row.
    """
    with torch.no_grad():
        y = fn(torch.zeros(1, *event_shape, device="cpu"))
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != 1:
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"the function must take (1, {', '.join(map(str, event_shape))}) to (1, ...); got {got}")
    return tuple(y.shape[1:])


def broadcast(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value` in that shape, for entry-by-entry products.

    Raises:
        ValueError: for a value that does not broadcast to it.
    """
    try:
        return value.expand(shape).contiguous()
    except RuntimeError:
        raise ValueError(f"{name} must broadcast to {shape}; got {tuple(value.shape)}") from None
