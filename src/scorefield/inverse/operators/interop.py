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
from scorefield.inverse.operators.base import LinearOperator, Operator, shape_of
from scorefield.inverse.operators.dense import Dense, require_real

OFF = 1e-3  # of |A x|^2, that <x, A^T A x> may differ: rounding in float32, not an approximate adjoint


class Linear(LinearOperator):
    """A map and its adjoint, as two functions of batches; derivatives are made of the two, whatever computes them.

    Args:
        forward, adjoint: `(B, *event_shape)` to `(B, *output_shape)` and back, row by row.
        output_shape: what `forward` gives for one event of zeros, unless given.

    Raises:
        ValueError: where `adjoint` is not the adjoint of `forward`, to OFF of |A x|^2, or not of its shape; for
            functions that `as_operator` refuses.
    """

    _believed = False  # a pair that is made here, and no one else's

    def __init__(
        self, forward: Any, adjoint: Any, event_shape: Sequence[int], output_shape: Sequence[int] | None = None
    ) -> None:
        self.event_shape, known = shape_of(type(self).__name__, event_shape), self._believed
        self._forward = forward if known else in_any_dtype(forward, self.event_shape)
        self.output_shape = probed(self._forward, self.event_shape) if output_shape is None else tuple(output_shape)
        self._adjoint = adjoint if known else in_any_dtype(adjoint, self.output_shape, "the adjoint")
        if not known:
            self._check_adjoint()

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        return linear(y, self._adjoint, self._forward)

    @torch.no_grad()
    def _check_adjoint(self) -> None:
        """<x, A^T A x> = |A x|^2 and <y, A A^T y> = |A^T y|^2 for three x and y.

        With E what the adjoint is off by, the first fails for all x unless E A is antisymmetric; then the second is off
        by |E^T y|^2 on average, so that together they let nothing but E = 0 pass, in any number of dimensions. The
        first says the factor, which would be one in every posterior.
        """
        generator = torch.Generator("cpu").manual_seed(0)
        x, y = (
            torch.randn(3, *shape, dtype=torch.float64, generator=generator, device="cpu")
            for shape in (self.event_shape, self.output_shape)
        )
        seen, back = self._forward(x), self._adjoint(y)
        if back.shape != x.shape:
            sizes = ", ".join(map(str, self.event_shape))
            raise ValueError(f"the adjoint must give (B, {sizes}); got {tuple(back.shape)} for B = 3")
        for names, product, square in (
            ("<x, A^T A x> is {} times |A x|^2", x * self._adjoint(seen), seen**2),
            ("<y, A A^T y> is {} times |A^T y|^2", y * self._forward(back), back**2),
        ):
            got, want = (v.double().reshape(len(v), -1).sum(1) for v in (product, square))
            if not bool(((got - want).abs() <= OFF * want).all()):  # false for NaN
                raise ValueError(
                    f"the adjoint is not that of the operator: {names.format(f'{float(got.sum() / want.sum()):.4g}')}, "
                    "not 1; give A alone where there is no exact adjoint, and it will be differentiated"
                )


def in_any_dtype(fn: Map, shape: Sequence[int], name: str = "the function") -> Map:
    """`fn` in the dtype of what it is given; where it computes in one alone, as others' do in float32, in that.

    Its result comes back in the dtype of what it was given.

    Raises:
        ValueError: for one that fails in both, that does not take batches to real numbers, each row by itself, or whose
            numbers are others the next time.
    """
    known, failure = [], None
    for dtype in (torch.float64, torch.float32):
        try:
            _tried(fn, torch.zeros(1, *shape, dtype=dtype, device="cpu"), name)
            known.append(dtype)
        except ValueError as error:
            failure = error
    if failure is not None and not known:
        raise failure
    own = known[0] if len(known) == 1 else None

    def taken(x: Tensor) -> Any:
        return _returned(fn(x if own is None else x.to(own)), x)

    _check_rows(taken, shape, name)
    return taken


def _tried(fn: Map, x: Tensor, name: str) -> Any:
    """fn(x); where it fails, whatever it raises, in one line."""
    try:
        with torch.no_grad():
            return fn(x)
    except Exception as error:  # of any library
        said = " ".join(str(error).split())
        raise ValueError(
            f"{name} must take a batch (B, {', '.join(map(str, x.shape[1:]))}), {_BATCHED}; "
            f"given {x.dtype}, {tuple(x.shape)} it raised {type(error).__name__}: {said}"
        ) from error


_BATCHED = "in float64 or float32, as torch.vmap(f) does for an f of one event"


def _check_rows(fn: Map, shape: Sequence[int], name: str) -> None:
    """A row comes out the same beside another one, and the second time, to OFF of its norm: posteriors build on it."""
    # in [0, 1), where pictures, intensities and logarithms are at home
    x = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    both, alone = _tried(fn, x, name), _tried(fn, x[1:], name)
    for y, rows in ((both, 2), (alone, 1)):
        if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != rows:
            sizes, got = ", ".join(map(str, shape)), tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"{name} must take ({rows}, {sizes}) to ({rows}, ...), {_BATCHED}; got {got}")
        if not y.is_floating_point():
            raise ValueError(
                f"{name} must give real numbers, a complex one as two in a last dimension (torch.view_as_real); "
                f"got {y.dtype}"
            )
    here, there = (y.double().nan_to_num().flatten() for y in (both[1:], alone))
    if here.shape != there.shape or not float((here - there).norm()) <= OFF * float(there.norm()):
        raise ValueError(
            f"{name} must give each row the same numbers every time, whatever rows stand beside it; got others for one "
            "alone than beside another: is it random, in training mode, or of one event (torch.vmap(f) makes batches)?"
        )


def _returned(y: Any, x: Tensor) -> Any:
    return y.to(x.dtype) if isinstance(y, Tensor) and y.is_floating_point() else y


class Sparse(Linear):
    """y = A x of the flattened event, A a sparse matrix `(M, D)` of torch, in any layout.

    Raises:
        ValueError: if it is not real, or its columns are not the entries of `event_shape`.
    """

    _believed = True

    def __init__(self, matrix: Tensor, event_shape: Sequence[int] | None = None) -> None:
        require_real(matrix)
        coo = matrix.detach().to_sparse_coo().coalesce()
        shape = shape_of(type(self).__name__, event_shape) if event_shape is not None else tuple(matrix.shape[1:])
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


def as_operator(obj: Any, event_shape: Sequence[int], *, linear: bool | None = None) -> Operator:
    """`obj` as an operator on events of that shape.

    What it may be, in this order: an `Operator`; a matrix `(M, D)` of torch, NumPy or SciPy, dense or sparse; a SciPy
    LinearOperator `(M, D)`; an object with methods `A` and `A_adjoint` on batches (deepinv's linear physics), or with
    `A` alone; a function of batches. One that computes in float32 alone is given that. Functions are tried, on the CPU,
    a few times: what they give must be real, each row by itself, and the same again. One that is linear where it is
    tried, of entries from 1e-6 to 1e6, and differentiable is taken to be linear; its adjoint is its derivative's.

    Args:
        linear: whether a function is, where that is known: False for a detector that saturates beyond 1e6, say.

    Raises:
        ValueError: for shapes that do not fit, an adjoint that is not the operator's, complex numbers, or a function of
            one event, of several rows together, of chance, or not linear though it is said to be.
        TypeError: for anything else.
    """
    import scipy.sparse

    shape = shape_of("as_operator", event_shape)
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
    if callable(forward) and callable(adjoint):
        return Linear(forward, adjoint, shape)
    if callable(forward) or callable(obj):
        fn = in_any_dtype(cast(Map, forward if callable(forward) else obj), shape)
        wrong = "" if linear is False else _not_linear(fn, shape)
        if linear and wrong:
            raise ValueError(f"the function is not linear: {wrong}")
        return Nonlinear(fn, shape) if linear is False or wrong else Linear(fn, _transposed(fn, shape), shape)
    raise TypeError(
        f"obj must be an operator, a matrix, an object with A and A_adjoint, or a function; got {type(obj).__name__}"
    )


def _not_linear(fn: Map, shape: Sequence[int]) -> str:
    """Where f(a x + b z) is not a f(x) + b f(z), to OFF of its norm; empty where it is everywhere that it was tried."""
    generator = torch.Generator("cpu").manual_seed(1)
    x, z = (torch.rand(1, *shape, dtype=torch.float64, generator=generator, device="cpu") for _ in range(2))
    with torch.no_grad():
        of_x, of_z = fn(x), fn(z)
        for a, b in ((0.0, 0.0), (2.0, -3.0), (1e-6, 0.0), (-1e6, 1e6)):
            got, want = fn(a * x + b * z), a * of_x + b * of_z
            size = float((abs(a) * of_x.norm() + abs(b) * of_z.norm()).double())
            if not float((got - want).double().norm()) <= OFF * size:  # NaN is no number either
                return f"of {a:g} x + {b:g} z it is not {a:g} times that of x, plus {b:g} times that of z"
    try:
        _transposed(fn, shape)(of_x)
    except RuntimeError:  # it left torch
        return "it has no derivative, so no adjoint: give an object with A and A_adjoint"
    return ""


def _transposed(fn: Map, shape: Sequence[int]) -> Map:
    """The adjoint of a linear function of torch: its derivative's."""

    def adjoint(y: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(len(y), *shape, dtype=y.dtype, device=y.device, requires_grad=True)
            (gradient,) = torch.autograd.grad(fn(x), x, y.detach().clone())
        return gradient

    return adjoint


def _columns(product: Any, x: Tensor) -> Tensor:
    """SciPy's product with the rows of x."""
    if len(x) == 0:
        return x.new_zeros(0, np.asarray(product(np.zeros((x.shape[1], 1)))).shape[0])
    return torch.from_numpy(np.ascontiguousarray(product(x.detach().cpu().numpy().T).T)).to(x.device)
