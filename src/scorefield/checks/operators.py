"""What an operator owes whoever measures and inverts with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scorefield.checks.base import Check, listed, require, run
from scorefield.inverse.operators.base import LinearOperator, Operator

PRECISIONS = ((torch.float32, 1e-5), (torch.float64, 1e-10))


def of_operator(operator: Operator) -> list[Check]:
    """The clauses of `check_operator`, each by itself, in both precisions."""

    def both(clause: Callable[[Tensor, float], None]) -> Callable[[], None]:
        def over() -> None:
            for dtype, tolerance in PRECISIONS:
                clause(_normal(operator.event_shape, dtype, 0), tolerance)

        return over

    clauses = {
        "shapes and dtypes": both(lambda x, _: _check_shapes(operator, x)),
        "no row sees its batch": both(lambda x, tolerance: _check_rows(operator, x, tolerance)),
        "derivatives": both(lambda x, tolerance: _check_derivatives(operator, x, tolerance)),
    }
    if isinstance(operator, LinearOperator):
        clauses["linear, with its adjoint"] = both(lambda x, tolerance: _check_linear(operator, x, tolerance))
        clauses["singular value decomposition"] = both(lambda x, tolerance: _check_svd(operator, x, tolerance))
    return listed(operator, clauses)


def check_operator(operator: Operator) -> None:
    """Shapes, dtypes, empty batches, rows by themselves; derivatives forward, backward and under vmap.

    Of a linear one also linearity, <A x, y> = <x, A^T y> to 1e-6 of ||A x|| ||y||, derivatives that are A and A^T, and,
    where it has one, a singular value decomposition that is one. Of a nonlinear one that its forward and reverse
    derivatives agree. A row agrees with the same in a batch to rounding only, since Fourier transforms and matrix
    products choose their kernels by the size of the batch.

    Raises:
        AssertionError: with the clause that failed and the numbers.
    """
    run(of_operator(operator))


def _check_shapes(operator: Operator, x: Tensor) -> None:
    y = operator(x)
    require(y.shape == (3, *operator.output_shape), "A(x) must be (B, *output_shape)", tuple(y.shape))
    require(y.dtype == x.dtype, "A(x) must have the dtype of x", y.dtype)
    require(bool(torch.isfinite(y).all()), "A(x) must be finite", y)
    empty = operator(x[:0])
    require(empty.shape == (0, *operator.output_shape), "an empty batch must come back empty", tuple(empty.shape))


def _check_rows(operator: Operator, x: Tensor, tolerance: float) -> None:
    y = operator(x)
    for i in range(3):
        _close(operator(x[i : i + 1]), y[i : i + 1], "a row alone must agree with the same in a batch", tolerance)


def _check_derivatives(operator: Operator, x: Tensor, tolerance: float) -> None:
    tangent = _normal(operator.event_shape, x.dtype, 1)
    cotangent = _normal(operator.output_shape, x.dtype, 2)
    forward: Any = torch.func.jvp(operator, (x,), (tangent,))
    y, along = forward
    _close(y, operator(x), "A(x) must be the same while it is differentiated", tolerance)
    pull: Any = torch.func.vjp(operator, x)[1]
    (back,) = pull(cotangent)
    gap = _dot(along, cotangent) - _dot(tangent, back)
    size = _norm(along) * _norm(cotangent)
    require(bool((gap.abs() <= 1e-6 * size).all()), "jvp and vjp must be adjoint, to 1e-6", gap / size)
    many = torch.stack([x, tangent, -x])
    mapped = torch.func.vmap(operator)(many)
    _close(mapped, torch.stack([operator(part) for part in many]), "vmap must do what a loop does", tolerance)
    (pulled,) = torch.func.vmap(pull)(torch.stack([cotangent, -cotangent]))
    _close(pulled, torch.stack([back, -back]), "vmap of the vjp must do what a loop does", tolerance)
    if isinstance(operator, LinearOperator):
        _close(along, operator(tangent), "the jvp of a linear operator must be itself", tolerance)
        _close(back, operator.adjoint(cotangent), "the vjp of a linear operator must be its adjoint", tolerance)
        forward = torch.func.jvp(operator.adjoint, (cotangent,), (cotangent,))
        _close(forward[1], operator.adjoint(cotangent), "the jvp of the adjoint must be itself", tolerance)


def _check_linear(operator: LinearOperator, x: Tensor, tolerance: float) -> None:
    other, y = _normal(operator.event_shape, x.dtype, 3), _normal(operator.output_shape, x.dtype, 4)
    _close(operator(2 * x - 3 * other), 2 * operator(x) - 3 * operator(other), "A must be linear", 10 * tolerance)
    back = operator.adjoint(y)
    require(back.shape == x.shape and back.dtype == x.dtype, "A^T y must be (B, *event_shape), of y's dtype", back)
    empty = operator.adjoint(y[:0])
    require(empty.shape == x[:0].shape, "the adjoint of an empty batch must be empty", tuple(empty.shape))
    forward = operator(x)
    gap = (_dot(forward, y) - _dot(x, back)).abs()
    size = _norm(forward) * _norm(y)
    require(bool((gap <= 1e-6 * size).all()), "<A x, y> must be <x, A^T y>, to 1e-6 ||A x|| ||y||", gap / size)


def _check_svd(operator: LinearOperator, x: Tensor, tolerance: float) -> None:
    svd = operator.svd()
    if svd is None:
        return
    y = _normal(operator.output_shape, x.dtype, 4)
    s = svd.singular_values
    require(s.ndim == 1 and s.dtype == torch.float64 and bool((s >= 0).all()), "s must be (K,), float64, >= 0", s)
    c = _normal((len(s),), x.dtype, 5)
    _close(svd.u(s.to(x) * svd.vt(x)), operator(x), "U diag(s) V^T x must be A x", 10 * tolerance)
    _close(svd.v(s.to(x) * svd.ut(y)), operator.adjoint(y), "V diag(s) U^T y must be A^T y", 10 * tolerance)
    _close(svd.vt(svd.v(c)), c, "V's columns must be orthonormal", 10 * tolerance)
    seen = c * (s > 1e-6 * s.max()).to(c)
    _close(svd.ut(svd.u(seen)), seen, "U's columns must be orthonormal", 10 * tolerance)


def _normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), device="cpu").to(
        dtype
    )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    return a.double().flatten(1).norm(dim=1)


def _close(value: Tensor, expected: Tensor, clause: str, tolerance: float) -> None:
    gap = float((value - expected).abs().max()) if expected.numel() else 0.0
    size = float(expected.abs().max()) if expected.numel() else 1.0
    require(
        value.shape == expected.shape and gap <= tolerance * max(size, 1e-30), clause, f"off by {gap:.3g} of {size:.3g}"
    )
