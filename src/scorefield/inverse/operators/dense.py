"""A matrix as an operator: y = A x, A^T y, and A = U S V^T by LAPACK, of the flattened event."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators.base import SVD, LinearOperator, shape_of
from scorefield.tensors import as_tensor


class Dense(LinearOperator):
    """y = A x of the flattened event: a matrix `(M, D)`, for small problems and for compressed sensing.

    Raises:
        ValueError: if the matrix is not real and finite, or its columns are not the entries of `event_shape`.
    """

    def __init__(self, matrix: Any, event_shape: tuple[int, ...] | None = None) -> None:
        matrix = require_real(as_tensor(matrix)).detach()
        if not matrix.is_floating_point():
            matrix = matrix.to(torch.get_default_dtype())
        shape = shape_of(type(self).__name__, event_shape) if event_shape is not None else tuple(matrix.shape[1:])
        if matrix.ndim != 2 or matrix.shape[1] != math.prod(shape):
            raise ValueError(f"matrix must have shape (M, {math.prod(shape)}); got {tuple(matrix.shape)}")
        if not bool(torch.isfinite(matrix).all()):
            raise ValueError("matrix must be finite; got NaN or infinity")
        self.matrix = matrix
        self._matrix = Buffer(matrix)
        self._svd: SVD | None = None
        self.event_shape, self.output_shape = shape, (len(matrix),)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self._matrix.like(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self._matrix.like(y)).reshape(len(y), *self.event_shape)

    def svd(self) -> SVD:
        """By LAPACK in float64, once."""
        if self._svd is None:
            u, s, vt = torch.linalg.svd(self.matrix.double(), full_matrices=False)
            right, left = Buffer(vt), Buffer(u)
            self._svd = SVD(
                s.cpu(),
                lambda x: x.flatten(1) @ right.like(x).T,
                lambda c: (c @ right.like(c)).reshape(len(c), *self.event_shape),
                lambda y: y @ left.like(y),
                lambda c: c @ left.like(c).T,
            )
        return self._svd


def require_real(matrix: Tensor) -> Tensor:
    """The matrix.

    Raises:
        ValueError: for a complex one, which would lose its imaginary part.
    """
    if matrix.is_complex():
        raise ValueError(f"matrix must be real, the rows of its imaginary part below the others; got {matrix.dtype}")
    return matrix
