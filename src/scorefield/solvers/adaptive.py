"""Embedded Runge-Kutta integration in which every sample takes its own steps.

For dx/du = f(x, u) on a batch each sample has its own u, its own step h and its own error, so that its solution is what
it would be alone. With a tableau of order k and its embedded weights b*, the error of a step to x' is estimated as

    error = norm(h sum_i (b_i - b*_i) k_i / (atol + rtol max(|x|, |x'|))).

Above 1 the step is refused and tried again, shorter. The next step is h times

    0.9 (sqrt(previous error) / error)^r,    r = 1/4 for k = 2, 3 and 1/8 for k = 4, 5,

kept within [0.2, 10]: a PI controller (Gustafsson 1991). Its powers are square roots of square roots, which are
correctly rounded; a general power may differ in its last bit with a number's place in the batch, and the steps with it.

The solution advances by the weights of order k while the estimate is of the error of order k - 1, which is h^k too:
the error at the end is proportional to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.distributions._lanes import total
from scorefield.schedules import pad_right
from scorefield.solvers.tableaus import DORMAND_PRINCE, Tableau
from scorefield.tensors import as_tensor

Rates = Callable[[Tensor, Tensor, Tensor], Tensor]
"""f(x, u, rows) -> dx/du, of the shape of `x` `(n, *event)`, at the times `u` `(n,)`, float64 on the CPU. `rows` `(n,)`
says which samples of the batch these are: those that have arrived are left out."""

Norm = Callable[[Tensor], Tensor]
"""Errors in units of their tolerance, `(n, *event)`, to `(n,)`: each from its own sample alone."""


class Trial(NamedTuple):
    """A step that has been tried, for n of the samples."""

    error: Tensor  # (n, *event), estimated, of x
    x: Tensor  # (n, *event), at its end
    rate: Tensor  # (n, *event), f there
    u: Tensor  # (n,)


Judge = Callable[[Trial], Tensor]
"""The error of a step in units of its tolerance, `(n,)`, where it is another than the norm of x's own error: that of
something computed from x at the end, say."""

SAFETY, SHORTEST, LONGEST = 0.9, 0.2, 10.0  # factors from one step to the next
FIRST = 1 / 20  # of the whole: the first step tried


class Control(NamedTuple):
    """Where each sample's steps stand: hand it on to integrate further."""

    step: Tensor  # (B,) float64 on the CPU: |h| to try next
    error: Tensor  # (B,) float64 on the CPU: of the last step taken
    rate: Tensor  # (B, *event): f at the end


class Integrated(NamedTuple):
    x: Tensor  # (B, *event), at the end
    evaluations: Tensor  # (B,) int64, of f
    steps: Tensor  # (B,) int64: those taken; refused ones are not among them
    control: Control
    error: Tensor  # (B,) float64: the errors of the steps taken, each in units of its tolerance, added up
    u: Tensor  # (B,) float64: where each stands
    arrived: Tensor  # (B,) bool: the others stand somewhere before the end, and mean nothing


def rms(error: Tensor) -> Tensor:
    """The root mean square of each sample, `(n, *event)` to `(n,)`: in one order, whoever else is there."""
    squares = error.reshape(len(error), error[:1].numel()).square()
    return (total(squares, 1)[:, 0] / squares.shape[1]).sqrt()


def integrate(
    f: Rates,
    x: Tensor,
    start: Tensor | float,
    end: Tensor | float,
    *,
    rtol: float = 0.0,
    atol: float | Tensor = 1.0,
    tableau: Tableau = DORMAND_PRINCE,
    norm: Norm = rms,
    judge: Judge | None = None,
    control: Control | None = None,
    max_steps: int = 1000,
) -> Integrated:
    """The solution of dx/du = f(x, u) at `end`, which is `x` `(B, *event)` at `start`.

    A sample whose steps shrink to nothing (f is not finite, or not smooth) or use up `max_steps` is left behind, and
    says so in `arrived`; it costs the others nothing.

    Args:
        f: see `Rates`.
        start, end: `()` or `(B,)`; forwards or backwards in u.
        rtol, atol: tolerance of a step; `atol` may be a tensor that broadcasts against x. In float32 what lies below
            1e-5 is rounding, and steps shrink in vain.
        tableau: with an embedded method, and whose last stage is at the end of the step.
        norm: of a sample's error. Where parts of a state count apart, a log-density beside an image, the largest of
            their norms.
        judge: in place of rtol, atol and norm.
        control: of an integration of the same f that this one continues.
        max_steps: for each sample, refused ones included.

    Raises:
        ValueError: for a tolerance that is not positive, or another kind of tableau.
    """
    if tableau.embedded is None or not tableau.fsal:
        raise ValueError("tableau must have embedded weights and its last stage at the end of the step")
    if not rtol >= 0 or not bool((as_tensor(atol) > 0).all()):
        raise ValueError(f"rtol must be at least 0 and atol positive; got {rtol} and {atol}")
    batch, double = len(x), torch.float64
    u, end = (torch.as_tensor(v, dtype=double, device="cpu").expand(batch).clone() for v in (start, end))
    shortest = 1e-14 * torch.maximum(u.abs(), (end - u).abs())
    rows = (u != end).nonzero()[:, 0]
    evaluations, steps = (
        torch.zeros(batch, dtype=torch.int64, device="cpu"),
        torch.zeros(batch, dtype=torch.int64, device="cpu"),
    )
    x, total = x.clone(), torch.zeros(batch, dtype=double, device="cpu")
    if control is None:
        step, last = FIRST * (end - u).abs(), torch.ones(batch, dtype=double, device="cpu")
        rate = torch.zeros_like(x)
        if len(rows):
            rate[rows] = f(x[rows], u[rows], rows)
            evaluations[rows] += 1
    else:
        step, last, rate = (c.clone() for c in control)
    rows = rows[finite_rows(rate[rows]).cpu()]
    refused, tried = torch.zeros(batch, dtype=torch.bool, device="cpu"), 0
    while len(rows) and tried < max_steps:
        tried += 1
        left = end[rows] - u[rows]
        size = _cut(step[rows], left.abs())
        there = torch.where(size == left.abs(), end[rows], u[rows] + torch.copysign(size, left))
        here = x[rows]
        to, slope, error = _step(f, here, rate[rows], u[rows], there, rows, tableau)
        evaluations[rows] += tableau.stages - 1
        if judge is None:
            e = norm(error / (atol + rtol * torch.maximum(here.abs(), to.abs())))
        else:
            e = judge(Trial(error, to, slope, there))
        e = e.to("cpu", double)
        taken = e <= 1  # not if it is NaN
        factor = _factor(e, torch.where(taken, last[rows], 1.0), tableau.order)
        factor = torch.where(refused[rows] | ~taken, factor.clamp(max=1.0), factor)
        # that a step was cut short to end in the right place says nothing against the longer one
        step[rows] = torch.where(taken & (size < step[rows]), torch.maximum(size * factor, step[rows]), size * factor)
        refused[rows] = ~taken
        moved = rows[taken]
        x[moved], rate[moved] = to[taken], slope[taken]
        u[moved], last[moved] = there[taken], e[taken].clamp(min=1e-4)
        steps[moved] += 1
        total[moved] += e[taken]
        rows = rows[(u[rows] != end[rows]) & (step[rows] >= shortest[rows])]
    return Integrated(x, evaluations, steps, Control(step, last, rate), total, u, u == end)


def finite_rows(x: Tensor) -> Tensor:
    """`(n,)` bool: which samples of `x` `(n, *event)` hold finite numbers only."""
    return torch.isfinite(x).reshape(len(x), x[:1].numel()).all(1)


def _cut(step: Tensor, left: Tensor) -> Tensor:
    """The step, or the way that is left, or half of it if a step would leave a sliver."""
    return torch.where(step >= left, left, torch.where(2 * step > left, left / 2, step))


def _factor(error: Tensor, last: Tensor, order: int) -> Tensor:
    """From a step to the next, see above."""
    power = last.sqrt() / error
    for _ in range((2 * order).bit_length() - 1):
        power = power.sqrt()
    return (SAFETY * power).nan_to_num(SHORTEST).clamp(SHORTEST, LONGEST)


def _step(
    f: Rates, x: Tensor, rate: Tensor, u: Tensor, there: Tensor, rows: Tensor, tableau: Tableau
) -> tuple[Tensor, Tensor, Tensor]:
    """(x', f(x'), the estimate of the error) of steps from `u` to `there`, `(n,)`; `rate` is f(x, u)."""
    h, slopes, to = there - u, [rate], x
    scale = pad_right(h, x)
    for c, weights in zip(tableau.c[1:], tableau.a, strict=True):
        to = x + scale * _combination(weights, slopes)
        slopes.append(f(to, there if abs(c - 1) < 1e-9 else u + c * h, rows))
    assert tableau.embedded is not None
    differences = tuple(b - low for b, low in zip(tableau.b, tableau.embedded, strict=True))
    return to, slopes[-1], scale * _combination(differences, slopes)


def _combination(weights: tuple[float, ...], tensors: list[Tensor]) -> Tensor:
    total = tensors[0] * weights[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        if weight:
            total = total.add_(tensor, alpha=weight)
    return total
