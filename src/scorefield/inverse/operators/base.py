"""What a measurement operator is.

An operator takes x `(B, *event_shape)` to A(x) `(B, *output_shape)`, each row by itself; everything is real, a complex
number a last dimension of 2, so that one white-noise model serves all. A linear one also has its adjoint, defined by

    <A x, y> = <x, A^T y>     for every x and y,

which is what makes a gradient a gradient: `checks.check_operator` asks for it. From the two follow the Gram operator
A A^T, and solutions of (c A A^T + d) u = y; an operator that knows its singular values,

    A = U diag(s) V^T,    (c A A^T + d)^-1 = U diag(1 / (c s^2 + d) - 1 / d) U^T + 1 / d,    A^+ = V diag(1 / s) U^T,

gives both in closed form; the others by conjugate gradients.
"""

from __future__ import annotations

import abc
import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scorefield.inverse.operators._solve import Solution, conjugate_gradients
from scorefield.tensors import as_tensor


def shape_of(name: str, event_shape: Sequence[int]) -> tuple[int, ...]:
    """`event_shape` as whole numbers from 1, of the operator `name`.

    Raises:
        ValueError: for anything else, such as a number in its place.
    """
    try:
        shape = tuple(operator.index(n) for n in event_shape)
    except TypeError:
        shape = (0,)
    if min(shape, default=1) < 1:
        raise ValueError(f"{name}: event_shape must be the sizes of one x, as (1, 28, 28); got {event_shape!r}")
    return shape


class Operator(abc.ABC):
    """x `(B, *event_shape)` to A(x) `(B, *output_shape)`, differentiable.

    `A @ B` is A after B, and `2 * A` is A times 2.

    Raises:
        ValueError: when called, for an x of another shape, or not floating point.
    """

    event_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A(x)."""

    def __call__(self, x: Tensor) -> Tensor:
        self._check("x", x, self.event_shape)
        return self.forward(x)

    def measured(self, y: Tensor) -> Tensor:
        """`(B, *output_shape)` of what an instrument's file may have: here complex numbers for pairs."""
        pairs = y.is_complex() and tuple(y.shape[1:]) == tuple(self.output_shape[:-1]) and self.output_shape[-1] == 2
        return torch.view_as_real(y.resolve_conj()) if pairs else y

    def __matmul__(self, other: Operator) -> Operator:
        return compose(self, other) if isinstance(other, Operator) else NotImplemented

    def __mul__(self, factor: float) -> Operator:
        return scale(self, float(factor)) if isinstance(factor, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def _check(self, name: str, value: Tensor, shape: Sequence[int]) -> None:
        if not value.is_floating_point() or tuple(value.shape[1:]) != tuple(shape) or value.ndim == 0:
            want = ", ".join(["B", *map(str, shape)])
            raise ValueError(
                f"{type(self).__name__}: {name} must be floating point of shape ({want}); "
                f"got {value.dtype}, {tuple(value.shape)}"
            )


@dataclass(frozen=True, eq=False)
class SVD:
    """A = U diag(s) V^T as functions: A x = u(s * vt(x)), A^T y = v(s * ut(y)).

    V has K orthonormal columns, and so has U but for those where s = 0, which may be 0. What V leaves out, A does not
    see: x - v(vt(x)) is in its null space.
    """

    singular_values: Tensor
    """s `(K,)`, float64, not negative, in any order."""
    vt: Callable[[Tensor], Tensor]
    """V^T x: `(B, *event_shape)` to `(B, K)`."""
    v: Callable[[Tensor], Tensor]
    """V c: `(B, K)` to `(B, *event_shape)`."""
    ut: Callable[[Tensor], Tensor]
    """U^T y: `(B, *output_shape)` to `(B, K)`."""
    u: Callable[[Tensor], Tensor]
    """U c: `(B, K)` to `(B, *output_shape)`."""


class LinearOperator(Operator):
    """An operator with an adjoint; both differentiate in reverse and forward mode, and under `vmap`."""

    @abc.abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, `(B, *event_shape)`."""

    def gram(self, y: Tensor) -> Tensor:
        """A A^T y."""
        return self.forward(self.adjoint(y))

    def svd(self) -> SVD | None:
        """The singular value decomposition where it is known in closed form, else None."""
        return None

    @functools.cached_property
    def _spectrum(self) -> SVD | None:
        return self.svd()

    def dense(self) -> Tensor:
        """The matrix, `(M, D)` float64: an application to every unit vector, for small problems."""
        d = math.prod(self.event_shape)
        columns = self.forward(torch.eye(d, dtype=torch.float64, device="cpu").reshape(d, *self.event_shape))
        return columns.reshape(d, -1).T

    def gram_solve(
        self,
        y: Tensor,
        c: Tensor | float,
        d: Tensor | float,
        *,
        tolerance: float = 1e-6,
        iterations: int = 500,
    ) -> Solution:
        """u `(B, *output_shape)` with (c A A^T + d) u = y, in closed form or by conjugate gradients.

        Args:
            c: not negative; a number, or one for each row, `(B,)`.
            d: positive; a number, or one for each row, `(B,)`, or for each number measured, with as many axes as y:
                `(1 or B, *output_shape)`, and then by conjugate gradients.
            tolerance, iterations: of the conjugate gradients, `conjugate_gradients`.

        Raises:
            ValueError: for c or d of another shape.
        """
        self._check("y", y, self.output_shape)
        c, d = _level("c", c, y), _level("d", d, y)
        svd = self._spectrum
        if svd is not None and {*c.shape[1:], *d.shape[1:]} <= {1}:  # one for each row, at most
            c, d = c.reshape(-1, 1), d.reshape(-1, 1)
            s2 = svd.singular_values.to(y).square()
            # 1/(c s^2 + d) - 1/d as one fraction: no difference of nearly equal numbers
            correction = svd.u(svd.ut(y) * (-c * s2 / (d * (c * s2 + d))))
            u = y / d.reshape(-1, *[1] * len(self.output_shape)) + correction
            return Solution(u, y.new_zeros(len(y)), torch.zeros(len(y), dtype=torch.int64, device=y.device))
        return conjugate_gradients(lambda u: c * self.gram(u) + d * u, y, tolerance=tolerance, iterations=iterations)

    def least_squares(self, y: Tensor, *, tolerance: float = 1e-6, iterations: int = 500) -> Solution:
        """The x of least norm among those that minimise ||y - A x||, with what conjugate gradients left.

        Their equation is A^T A x = A^T y; `residual` is of that. Singular values below 1e-6 of the largest count as 0
        in closed form; conjugate gradients reach them last, and stop at `tolerance`.

        Raises:
            ValueError: for a y of another shape.
        """
        self._check("y", y, self.output_shape)
        svd = self._spectrum
        if svd is None:
            return conjugate_gradients(
                lambda x: self.adjoint(self.forward(x)), self.adjoint(y), tolerance=tolerance, iterations=iterations
            )
        s = svd.singular_values
        inverse = torch.where(s > 1e-6 * s.max(), 1 / s, 0.0) if len(s) else s
        x = svd.v(svd.ut(y) * inverse.to(y))
        return Solution(x, y.new_zeros(len(y)), torch.zeros(len(y), dtype=torch.int64, device=y.device))

    def pseudo_inverse(self, y: Tensor, *, tolerance: float = 1e-6, iterations: int = 500) -> Tensor:
        """A^+ y, `(B, *event_shape)`: the x of least norm among those that minimise ||y - A x||."""
        return self.least_squares(y, tolerance=tolerance, iterations=iterations).x


class Composed(Operator):
    """A(B(x)).

    Raises:
        ValueError: unless B's output_shape is A's event_shape.
    """

    def __init__(self, outer: Operator, inner: Operator) -> None:
        if tuple(outer.event_shape) != tuple(inner.output_shape):
            raise ValueError(
                f"A @ B needs B's output to be A's event; "
                f"got {tuple(inner.output_shape)} and {tuple(outer.event_shape)}"
            )
        self.outer, self.inner = outer, inner
        self.event_shape, self.output_shape = inner.event_shape, outer.output_shape

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))


class LinearComposed(Composed, LinearOperator):
    """A B x."""

    outer: LinearOperator
    inner: LinearOperator

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Scaled(Operator):
    """c A(x).

    Raises:
        ValueError: for a factor that is not finite.
    """

    def __init__(self, operator: Operator, factor: float) -> None:
        if not math.isfinite(factor):
            raise ValueError(f"an operator's factor must be finite; got {factor}")
        self.operator, self.factor = operator, factor
        self.event_shape, self.output_shape = operator.event_shape, operator.output_shape

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.operator.forward(x)


class LinearScaled(Scaled, LinearOperator):
    """c A x."""

    operator: LinearOperator

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.adjoint(y)

    def svd(self) -> SVD | None:
        svd = self.operator.svd()
        if svd is None:
            return None
        sign = math.copysign(1.0, self.factor)
        s = svd.singular_values * abs(self.factor)
        return replace(svd, singular_values=s, ut=lambda y: sign * svd.ut(y), u=lambda c: sign * svd.u(c))


def compose(outer: Operator, inner: Operator) -> Operator:
    """`outer @ inner`."""
    linear = isinstance(outer, LinearOperator) and isinstance(inner, LinearOperator)
    return LinearComposed(outer, inner) if linear else Composed(outer, inner)


def scale(operator: Operator, factor: float) -> Operator:
    """`factor * operator`."""
    return LinearScaled(operator, factor) if isinstance(operator, LinearOperator) else Scaled(operator, factor)


def _level(name: str, value: Tensor | float, y: Tensor) -> Tensor:
    """`value` with the axes of y: of one axis, it is for the rows."""
    tensor = as_tensor(value, y.dtype).to(y)
    if tensor.ndim == 1 and len(tensor) == len(y):
        return tensor.reshape(-1, *[1] * (y.ndim - 1))
    fits = tensor.ndim == y.ndim and all(n in (1, m) for n, m in zip(tensor.shape, y.shape, strict=True))
    if tensor.ndim and not fits:
        raise ValueError(
            f"{name} must be a number, ({len(y)},) or broadcast to {tuple(y.shape)}; got {tuple(tensor.shape)}"
        )
    return tensor if tensor.ndim else tensor.reshape([1] * y.ndim)
