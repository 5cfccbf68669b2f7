"""Score matching of a plain score function, with no noise in it: what each objective averages over x ~ p.

    explicit            1/2 ||s(x) - s_p(x)||^2                     half the Fisher divergence; needs s_p
    implicit            1/2 ||s||^2 + tr ds/dx                      Hyvarinen 2005
    sliced              1/2 (v^T s)^2 + v^T (ds/dx) v               Song et al. 2019, E[v v^T] = I
      variance reduced  1/2 ||s||^2 + v^T (ds/dx) v
    finite difference   1/2 ||s||^2 + v^T (s(x + h v) - s(x - h v)) / (2 h)    Pang et al. 2020

Integration by parts, E_p[s^T s_p] = -E_p[tr ds/dx], makes the means of all but the first equal, and equal to the
first's less the constant 1/2 E_p ||s_p||^2: one minimiser, s = s_p. It needs a density, and p s to vanish at infinity;
data on a lower-dimensional set have none, so `losses.implicit` and the others of `losses.marginal` first add noise.

A score is any function `(B, *event) -> (B, *event)` that treats its samples one by one: a network, or the gradient of
an energy taken with `create_graph=True`. Values keep their graph where gradients are enabled, so `.mean().backward()`
reaches the score's parameters through its derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scorefield.denoisers.views import differentiable
from scorefield.schedules import pad_right
from scorefield.tensors import as_tensor

Score = Callable[[Tensor], Tensor]


def explicit(score: Score, x: Tensor, exact: Score) -> Tensor:
    """1/2 ||score(x) - exact(x)||^2, `(B,)`. Its mean under p is half the Fisher divergence, which is not symmetric."""
    return _half_square(score(x) - exact(x))


def implicit(score: Score, x: Tensor) -> Tensor:
    """1/2 ||score(x)||^2 + tr dscore/dx, `(B,)`: Hyvarinen's score, with the exact trace by d vector products."""
    with differentiable():
        x, s = _with_graph(score, x)
        rows = s.reshape(len(x), math.prod(x.shape[1:]))
        trace = torch.zeros_like(rows[:, 0])
        for i in range(rows.shape[1]):
            trace = trace + _vjp(rows[:, i].sum(), x).reshape(rows.shape)[:, i]
        value = _half_square(s) + trace
    return value if torch.is_grad_enabled() else value.detach()


def sliced(score: Score, x: Tensor, v: Tensor, *, variance_reduced: bool = True) -> Tensor:
    """The mean over directions of v^T (dscore/dx) v + 1/2 ||score||^2, `(B,)`; one vector product for each.

    Args:
        score: see above.
        x: `(B, *event)`.
        v: directions, of the shape of `x` or `(M, *x.shape)` for M of them, from a law with E[v v^T] = I.
        variance_reduced: SSM-VR; off, the plain SSM with 1/2 (v^T score)^2, whose mean over v is the same.

    Raises:
        ValueError: for directions of another shape, or none.
    """
    directions = _directions(v, x)
    with differentiable():
        x, s = _with_graph(score, x)
        value = torch.zeros_like(_half_square(s))
        for u in directions.clone() if directions.is_inference() else directions:
            square = _half_square(s) if variance_reduced else _dot(u, s).square() / 2
            value = value + square + _dot(u, _vjp((s * u).sum(), x))
        value = value / len(directions)
    return value if torch.is_grad_enabled() else value.detach()


def finite_difference(score: Score, x: Tensor, v: Tensor, step: Tensor | float) -> Tensor:
    """The mean over directions of the variance-reduced sliced integrand by central differences, `(B,)`.

    With s+- = score(x +- step v): v^T (s+ - s-) / (2 step) + 1/2 ||(s+ + s-) / 2||^2. Two evaluations a direction, and
    nothing is differentiated but the loss itself: first-order memory and any network, those without second derivatives
    too. The two must agree in everything but x: a network with dropout draws another mask for each.

    Error: step^2 (1/6 v^T D^3 score[v, v, v] + 1/2 score^T D^2 score[v, v]) + O(step^4), and in arithmetic of relative
    precision u about u |score| |v| / step; both vanish for a linear score but for the rounding.

    Args:
        score, x, v: as for `sliced`.
        step: h, `()` or `(B,)`, in units of `x` over `v`.

    Raises:
        ValueError: for directions of another shape, or none.
    """
    value, directions = torch.zeros_like(_half_square(x)), _directions(v, x)
    for u in directions:
        shift = pad_right(step, x) * u
        above, below = score(x + shift), score(x - shift)
        slope = _dot(u, above - below) / (2 * as_tensor(step).to(x))
        value = value + _half_square((above + below) / 2) + slope
    return value / len(directions)


def _with_graph(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x if x.requires_grad else (x.clone() if x.is_inference() else x.detach()).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        return x, score(x)


def _vjp(scalar: Tensor, x: Tensor) -> Tensor:
    """Gradient with a graph of its own; zero where the scalar does not depend on x."""
    if not scalar.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(scalar, x, create_graph=True, materialize_grads=True)[0]


def _directions(v: Tensor, x: Tensor) -> Tensor:
    if v.shape[-x.ndim :] != x.shape or v.ndim > x.ndim + 1 or (v.ndim > x.ndim and len(v) == 0):
        raise ValueError(f"v must have the shape of x, {tuple(x.shape)}, or (M, *x.shape); got {tuple(v.shape)}")
    return v if v.ndim == x.ndim + 1 else v[None]


def _dot(u: Tensor, w: Tensor) -> Tensor:
    return (u * w).reshape(len(w), math.prod(w.shape[1:])).sum(1)


def _half_square(s: Tensor) -> Tensor:
    return _dot(s, s) / 2
