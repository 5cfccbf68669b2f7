"""What a measurement operator is.

An operator takes x `(B, *event_shape)` to A(x) `(B, *output_shape)`, each row by itself; everything is real, a complex
number a last dimension of 2, so that one white-noise model serves all. A linear one also has its adjoint, defined by

    <A x, y> = <x, A^T y>     for every x and y,

which is what makes a gradient a gradient: `checks.check_operator` asks for it. From the two follow the Gram operator
A A^T, and solutions of (A A^T + c) u = y; an operator that knows its singular values gives both in closed form.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Operator(abc.ABC):
    """x `(B, *event_shape)` to A(x) `(B, *output_shape)`, differentiable."""

    event_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A(x)."""

    def __call__(self, x: Tensor) -> Tensor:
        self._check("x", x, self.event_shape)
        return self.forward(x)

    def _check(self, name: str, value: Tensor, shape: Sequence[int]) -> None:
        if not value.is_floating_point() or tuple(value.shape[1:]) != tuple(shape) or value.ndim == 0:
            want = ", ".join(["B", *map(str, shape)])
            raise ValueError(
                f"{type(self).__name__}: {name} must be floating point of shape ({want}); "
                f"got {value.dtype}, {tuple(value.shape)}"
            )


class LinearOperator(Operator):
    """An operator with an adjoint; both differentiate in reverse and forward mode, and under `vmap`."""

    @abc.abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, `(B, *event_shape)`."""

    def gram(self, y: Tensor) -> Tensor:
        """A A^T y."""
        return self.forward(self.adjoint(y))

    def dense(self) -> Tensor:
        """The matrix, `(M, D)` float64: an application to every unit vector, for small problems."""
        d = math.prod(self.event_shape)
        columns = self.forward(torch.eye(d, dtype=torch.float64).reshape(d, *self.event_shape))
        return columns.reshape(d, -1).T
