"""Other people's operators as ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from scorefield.inverse.operators._function import Map, linear
from scorefield.inverse.operators._strips import compressed
from scorefield.inverse.operators.algebra import Nonlinear, probed
from scorefield.inverse.operators.base import LinearOperator, Operator
from scorefield.inverse.operators.dense import Dense


class Linear(LinearOperator):
    """A map and its adjoint, as two functions of batches; derivatives are made of the two, whatever computes them.

    Args:
        forward, adjoint: `(B, *event_shape)` to `(B, *output_shape)` and back, row by row.
        output_shape: what `forward` gives for one event of zeros, unless given.
    """

    def __init__(
        self, forward: Any, adjoint: Any, event_shape: Sequence[int], output_shape: Sequence[int] | None = None
    ) -> None:
        self._forward, self._adjoint, self.event_shape = forward, adjoint, tuple(event_shape)
        self.output_shape = probed(forward, self.event_shape) if output_shape is None else tuple(output_shape)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        return linear(y, self._adjoint, self._forward)


class Sparse(Linear):
    """y = A x of the flattened event, A a sparse matrix `(M, D)` of torch, in any layout.

    Raises:
        ValueError: if its columns are not the entries of `event_shape`.
    """

    def __init__(self, matrix: Tensor, event_shape: Sequence[int] | None = None) -> None:
        coo = matrix.detach().to_sparse_coo().coalesce()
        shape = tuple(event_shape) if event_shape is not None else tuple(matrix.shape[1:])
        if coo.ndim != 2 or coo.shape[1] != math.prod(shape):
            raise ValueError(f"matrix must have shape (M, {math.prod(shape)}); got {tuple(matrix.shape)}")
        self._entries = (*coo.indices().int(), coo.values().double())
        self._pairs: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        super().__init__(
            lambda x: (self._pair(x)[0] @ x.flatten(1).T.contiguous()).T,
            lambda y: (self._pair(y)[1] @ y.T.contiguous()).T.reshape(len(y), *shape),
            shape,
            (coo.shape[0],),
        )

    def _pair(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._pairs:
            i, j, values = (part.cpu() for part in self._entries)
            m, d = self.output_shape[0], math.prod(self.event_shape)
            values = values.to(like.dtype)
            self._pairs[key] = (
                compressed(i, j, values, (m, d), like.device),
                compressed(j, i, values, (d, m), like.device),
            )
        return self._pairs[key]


def as_operator(obj: Any, event_shape: Sequence[int]) -> Operator:
    """`obj` as an operator on events of that shape.

    What it may be, in this order: an `Operator`; a matrix `(M, D)` of torch, NumPy or SciPy, dense or sparse; a SciPy
    LinearOperator `(M, D)`; an object with methods `A` and `A_adjoint` on batches (deepinv's linear physics), or with
    `A` alone; a function of batches, which is taken to be nonlinear.

    Raises:
        ValueError: for shapes that do not fit.
        TypeError: for anything else.
    """
    import scipy.sparse

    shape = tuple(event_shape)
    if isinstance(obj, Operator):
        if tuple(obj.event_shape) != shape:
            raise ValueError(f"the operator's event_shape must be {shape}; got {tuple(obj.event_shape)}")
        return obj
    if isinstance(obj, Tensor) and obj.layout is not torch.strided:
        return Sparse(obj, shape)
    if isinstance(obj, (Tensor, np.ndarray)):
        return Dense(obj, shape)
    if scipy.sparse.issparse(obj):
        coo = obj.tocoo()
        index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        return Sparse(
            torch.sparse_coo_tensor(index, torch.from_numpy(coo.data), coo.shape, check_invariants=False), shape
        )
    if isinstance(obj, scipy.sparse.linalg.LinearOperator):
        if obj.shape[1] != math.prod(shape):
            raise ValueError(f"the operator must have shape (M, {math.prod(shape)}); got {obj.shape}")
        back = lambda y: _columns(obj.rmatmat, y).reshape(len(y), *shape)  # noqa: E731
        return Linear(lambda x: _columns(obj.matmat, x.flatten(1)), back, shape, (obj.shape[0],))
    forward, adjoint = getattr(obj, "A", None), getattr(obj, "A_adjoint", None)
    if callable(forward):
        return Linear(forward, adjoint, shape) if callable(adjoint) else Nonlinear(cast(Map, forward), shape)
    if callable(obj):
        return Nonlinear(cast(Map, obj), shape)
    raise TypeError(
        f"obj must be an operator, a matrix, an object with A and A_adjoint, or a function; got {type(obj).__name__}"
    )


def _columns(product: Any, x: Tensor) -> Tensor:
    """SciPy's product with the rows of x."""
    if len(x) == 0:
        return x.new_zeros(0, np.asarray(product(np.zeros((x.shape[1], 1)))).shape[0])
    return torch.from_numpy(np.ascontiguousarray(product(x.detach().cpu().numpy().T).T)).to(x)
