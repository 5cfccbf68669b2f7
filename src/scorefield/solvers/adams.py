"""Adams' methods of variable order and step, in which every sample takes its own: one evaluation a step.

For dx/du = f(x, u) let D_k = f[u_0, ..., u_k] be the divided differences of f at the last nodes, newest first, and

    c_k = int_{u_0}^{u'} prod_{i < k} (v - u_i) dv.

A step to u' integrates the polynomial through the last k nodes, evaluates f there, once, and then integrates the one
through these nodes and u' (a predictor and its corrector, in Newton's form):

    p  = x + sum_{j < k} c_j D_j,        P_0 = f(p, u'),      P_j = (P_{j-1} - D_{j-1}) / (u' - u_{j-1}),
    x' = p + c_k P_k.

P_0, P_1, ... are the divided differences with u' in front: the D of the next step, so that they are all there is to
remember. The corrector of order j, which looks one node less far back than that of order j + 1, differs from it by

    e_j = (c_j - c_{j-1} (u' - u_{j-1})) P_j.

That is the error estimated at order j, and x' advances by order k + 1 (Krogh 1974; Shampine & Gordon 1975). All orders
are estimated at once, and the next step is taken at the order k - 1, k or k + 1 that allows the longest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.schedules import pad_right
from scorefield.solvers.adaptive import FIRST, Rates

ORDERS = 4  # of the predictor; with 5, steps of loose tolerances are too long for their estimates to hold
GOAL = 0.2  # of what a step may do, to aim at: at 0.5 one step in four is refused
SHARE = 0.1  # of what is left of the budget, which a step may spend: however many there are, it is never overspent
SHORTEST, LONGEST = 0.3, 2.5  # factors from one step to the next
REFUSED = 0.8  # the longest after a step that was refused


class AdamsStep(NamedTuple):
    """A step that has been tried, for n of the samples."""

    x: Tensor  # (n, D), predicted
    rate: Tensor  # (n, D), f there
    u: Tensor  # (n,)
    size: Tensor  # (n,)
    differences: list[Tensor]  # P_1, P_2, ..., each (n, D)


class Verdict(NamedTuple):
    """Of a step: what each of its differences does to the answer, and what no step can be better than."""

    effects: Tensor  # (len(differences), n), linear in the difference up to its sign
    noise: Tensor  # (n,)


Judge = Callable[[AdamsStep], Verdict]


class Followed(NamedTuple):
    x: Tensor  # (B, D), at the end
    rate: Tensor  # (B, D), f at the last predicted point
    evaluations: Tensor  # (B,) int64, of f
    steps: Tensor  # (B,) int64: those taken; refused ones are not among them
    error: Tensor  # (B,) float64: what the steps taken do to the answer, as estimated, added up
    arrived: Tensor  # (B,) bool: the others stand somewhere before the end, and mean nothing


def follow(
    f: Rates, x: Tensor, rate: Tensor, start: Tensor, end: float, *, judge: Judge, budget: float, max_steps: int = 1000
) -> Followed:
    """The solution of dx/du = f(x, u) at `end`, where it is `x` `(B, D)` at `start` `(B,)` < `end` and f is `rate`.

    A sample whose steps shrink to nothing (f is not finite, or not smooth) or use up `max_steps` is left behind, and
    says so in `arrived`; it costs the others nothing.

    Args:
        f: see `adaptive.Rates`.
        judge: of the errors of a step, which is tried again, shorter, where that of its order is too large.
        budget: what all steps together may do to the answer, but for noise.
        max_steps: for each sample, refused ones included.

    Raises:
        ValueError: for a start that is not below the end.
    """
    if not bool((start < end).all()):
        raise ValueError(f"end must lie above start; got {float(start.max()):g} and {end:g}")
    batch, double = len(x), torch.float64
    x, table = x.clone(), [rate.clone(), *(torch.zeros_like(rate) for _ in range(ORDERS))]  # D_0, D_1, ...
    # of what is not known yet D is 0, and its node anywhere
    nodes = start - torch.arange(ORDERS + 1, dtype=double, device="cpu")[:, None]
    step, total = FIRST * (end - start), torch.zeros(batch, dtype=double, device="cpu")
    order, known, evaluations, steps = (torch.full((batch,), v, device="cpu") for v in (1, 1, 0, 0))
    shortest = 1e-14 * torch.maximum(start.abs(), (end - start).abs())
    rows, tried = torch.arange(batch, device="cpu"), 0
    while len(rows) and tried < max_steps:
        tried += 1
        here, k = nodes[0, rows], order[rows]
        left = end - here
        size = torch.where(step[rows] >= left, left, torch.where(2 * step[rows] > left, left / 2, step[rows]))
        there = torch.where(size == left, end, here + size)
        weights, scales = _weights((nodes[:, rows] - here) / size, size)
        point = x[rows]
        for j in range(ORDERS):
            point = point + pad_right(torch.where(j < k, weights[j], 0.0), point) * table[j][rows]
        ahead = [f(point, there, rows)]
        for j in range(ORDERS):
            ahead.append((ahead[j] - table[j][rows]) / pad_right(there - nodes[j, rows], point))
        evaluations[rows] += 1
        with torch.no_grad():  # how long a step is, is no function of x
            effects, noise = (v.to("cpu", double) for v in judge(AdamsStep(point, ahead[0], there, size, ahead[1:])))
        allowed = SHARE * (budget - total[rows]).clamp(min=0.01 * budget) + noise
        errors = scales * effects / allowed
        errors = torch.where(torch.arange(1, ORDERS + 1, device="cpu")[:, None] <= known[rows], errors, math.inf)
        error = errors.gather(0, k[None] - 1)[0]
        taken = error <= 1  # not if it is NaN
        for j in range(1, ORDERS + 1):
            point = point + pad_right(torch.where(k == j, weights[j], 0.0), point) * ahead[j]
        order[rows], factor = _next(errors, k)
        factor = torch.where(taken, factor, factor.clamp(max=REFUSED))
        # that a step was cut short to end in the right place says nothing against the longer one
        step[rows] = torch.where(taken & (size < step[rows]), torch.maximum(size * factor, step[rows]), size * factor)
        moved = rows[taken]
        x[moved] = point[taken]
        for difference, new in zip(table, ahead, strict=True):
            difference[moved] = new[taken]
        nodes[:, moved] = torch.cat([there[None, taken], nodes[:-1, moved]])
        total[moved] += (error * allowed)[taken]
        known[moved] = (known[moved] + 1).clamp(max=ORDERS)
        steps[moved] += 1
        rows = rows[(nodes[0, rows] != end) & (step[rows] >= shortest[rows])]
    return Followed(x, table[0], evaluations, steps, total, nodes[0] == end)


def _weights(r: Tensor, size: Tensor) -> tuple[list[Tensor], Tensor]:
    """c_0, ..., c_K of a step, and the factors of P_1, ..., P_K in e_1, ..., e_K, `(K, n)`.

    In units of the step from u_0, the nodes are r_0 = 0, r_1, ... `(K + 1, n)`, and u' = 1. Sums and products only, so
    that a sample's are its own to the bit.
    """
    unit = torch.ones_like(size)
    polynomial, power = [unit], size  # prod (r - r_i), lowest power first
    weights, scales = [size], []
    for k in range(ORDERS):
        zero = torch.zeros_like(unit)
        pairs = zip([zero, *polynomial], [*polynomial, zero], strict=True)
        polynomial = [higher - r[k] * lower for higher, lower in pairs]
        power = power * size
        integral = zero
        for n, coefficient in enumerate(polynomial):
            integral = integral + coefficient / (n + 1)
        weights.append(power * integral)
        scales.append((weights[k + 1] - weights[k] * size * (1 - r[k])).abs())
    return weights, torch.stack(scales)


def _next(errors: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """(the order to take next, the factor from this step to the next) from the errors `(K, n)` at each order.

    An error of order j grows as the power j + 1 of the step.
    """
    orders, factors = [], []
    # one number at a time: in a vector the last bit of a power depends on its place
    for column, k in zip(errors.T.tolist(), order.tolist(), strict=True):
        candidates = [j for j in (k, k - 1, k + 1) if 1 <= j <= ORDERS and math.isfinite(column[j - 1])]
        lengths = {j: (GOAL / max(column[j - 1], 1e-12)) ** (1 / (j + 1)) for j in candidates} or {k: SHORTEST}
        best = max(lengths, key=lengths.__getitem__)
        orders.append(best)
        factors.append(min(max(lengths[best], SHORTEST), LONGEST))
    taken = torch.tensor(orders, dtype=torch.int64, device="cpu")
    return taken, torch.tensor(factors, dtype=torch.float64, device="cpu")
