"""The way from a datum to noise: where it begins, how it is followed, and what lies beyond its end.

**The near end.** Data have no noise, and at theta = 0 the network cannot be asked. The integration begins at an angle
below which the density shows itself smooth, `near_tail`, so that what is left is known in closed form: at theta_0 as a
rule; where that is too coarse for the datum at hand (data that are thinner than it in some direction) at a quarter, a
sixteenth, ... of it, as far as the tolerance asks and the rounding of the network's numbers allows.

**The way.** The flow is followed by Adams' methods with (z, int q) together. Midway between far modes it is stiff: the
flow runs into the surface that parts them, and steps shrink to its width over their distance. There the density is
integrated at a fixed z instead,

    log p(z at theta_0) = log p(z at theta_1) + int kappa dtheta,

which for a law, whose score is a gradient, is the same number, and for a network an estimate. `Way.followed` tells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.likelihood.flow import BEND, Flow, Rates, Tail, angle, angle_rate, far_tail, near_tail
from scorefield.schedules import pad_right
from scorefield.solvers.adams import AdamsStep, Followed, Judge, Verdict, follow
from scorefield.solvers.adaptive import Rates as Slope

DEPTH = 5  # quarters of theta_0 that are tried
ROUNDING = 1e3  # in units of the rounding error: below this angle (z - D) / theta is made of it
NOISE = 10.0  # what differences of fourth order make of a rounding error, at most
PRECISION = 1e-6  # of a density integrated at a fixed z, relative: it may be some millions of nats from any other
FIRST_FALL = 0.8  # of the budget, which the way back down to theta_0 may take; the rest is for what follows
TRIES = 250  # steps of the flow, refused ones included; what takes more is stiff


class Start(NamedTuple):
    """Where each sample's integration begins, and what lies below."""

    theta: Tensor  # (B,) float64
    rates: Rates
    tail: Tail
    evaluations: Tensor  # (B,) int64


class Way(NamedTuple):
    """What has been integrated, up to theta_1."""

    z: Tensor  # (n, d)
    rates: Rates  # at the end
    integral: Tensor  # (n, C): of q along the flow, or of kappa at a fixed z
    error: Tensor  # (n,), as estimated
    arrived: Tensor  # (n,) bool
    evaluations: Tensor  # (n,) int64


def near_end(flow: Flow, z: Tensor, theta0: float, theta1: float, allowed: float) -> Start:
    """The largest of theta0, theta0 / 4, ... below which what is added to log p is known to `allowed`.

    Where none is, the smooth one that is known best; where none is smooth, theta0. What tells is kappa at that angle
    and at 4, 16 and 64 times it, as far as theta1.
    """
    lowest = max(flow.limits[0], ROUNDING * torch.finfo(flow.directions.dtype).eps)
    rows, theta = torch.arange(len(z), device="cpu"), theta0
    outer = [k * theta0 for k in (4, 16, 64) if k * theta0 <= theta1]
    kappas = [flow(z, _all(z, at), rows).kappa(z, _all(z, at)) for at in outer]
    start = None
    for _ in range(DEPTH + 1):
        here, at = z[rows], _all(rows, theta)
        rates = flow(here, at, rows)
        kappas = [rates.kappa(here, at), *kappas[:3]]
        tail = near_tail(kappas, theta, allowed)
        if start is None:
            start = Start(at, rates, tail, torch.full((len(z),), 1 + len(outer), device="cpu"))
        else:
            start.evaluations[rows] += 1
            known, before = start.tail.error[rows], start.tail.smooth[rows]
            better = tail.smooth & (~before | (tail.error < known))
            kept = zip((*start.rates, *start.tail), (*rates, *tail), strict=True)
            f, q, *rest = (old.index_put((rows[better],), new[better]) for old, new in kept)
            start = start._replace(rates=Rates(f, q), tail=Tail(*rest))
            start.theta[rows[better]] = theta
        left, theta = ~(tail.smooth & (tail.error <= allowed)), theta / 4
        rows, kappas = rows[left], [kappa[left] for kappa in kappas]
        if not len(rows) or theta < lowest:
            break
    assert start is not None
    return start


def followed(flow: Flow, z: Tensor, start: Start, theta1: float, budget: float) -> tuple[Way, Tensor]:
    """(the way of every sample, `(B,)` bool: by the flow; the others' is at a fixed z)."""
    every, d = torch.arange(len(z), device="cpu"), z.shape[1]
    done = _along_flow(flow, z, start.rates, start.theta, theta1, budget, TRIES, every)
    rates = Rates(*(done.rate / pad_right(angle_rate(_all(z, theta1)), z)).split((d, start.rates.q.shape[1]), 1))
    way = Way(done.x[:, :d], rates, done.x[:, d:], done.error, done.arrived, done.evaluations)
    stiff = (~way.arrived).nonzero()[:, 0]
    if len(stiff):
        other = _at_fixed_z(flow, z, start, theta1, budget, stiff)
        kept = zip((way.z, *way.rates, *way[2:5]), (other.z, *other.rates, *other[2:5]), strict=True)
        here, f, q, integral, error, arrived = (old.index_put((stiff,), new) for old, new in kept)
        evaluations = way.evaluations.index_add(0, stiff, other.evaluations)
        way = Way(here, Rates(f, q), integral, error, arrived, evaluations)
    by_flow = torch.ones(len(z), dtype=torch.bool, device="cpu")
    by_flow[stiff] = False
    return way, by_flow


class Fall(NamedTuple):
    """What has been integrated from theta_1 down to where the rest is known."""

    z: Tensor  # (n, d), at the end: a datum, read at theta = 0
    integral: Tensor  # (n, C): of q, from the end up to theta_1
    error: Tensor  # (n,), as estimated
    tail: Tail
    arrived: Tensor  # (n,) bool
    evaluations: Tensor  # (n,) int64


def fallen(flow: Flow, z: Tensor, rates: Rates, theta0: float, theta1: float, budget: float, allowed: float) -> Fall:
    """The way back, from `z` and its `rates` at theta1 to theta0, or theta0 / 4, ... as far as `near_end` would ask."""
    d, rows, theta = z.shape[1], torch.arange(len(z), device="cpu"), theta0
    lowest = max(flow.limits[0], ROUNDING * torch.finfo(flow.directions.dtype).eps)
    z, f, q = z.clone(), rates.f.clone(), rates.q.clone()
    none = torch.zeros_like(z[:, 0])
    tail = Tail(torch.zeros_like(q), none.clone(), none > 0)
    fall = Fall(z, torch.zeros_like(q), none.cpu(), tail, torch.ones(len(z), device="cpu") > 0, torch.zeros_like(rows))
    at = _all(z, theta1)
    for turn in range(DEPTH + 1):
        share = FIRST_FALL if turn == 0 else (1 - FIRST_FALL) / DEPTH
        done = _along_flow(flow, z[rows], Rates(f[rows], q[rows]), at[rows], theta, share * budget, 1000, rows)
        here = z[rows] = done.x[:, :d]
        fall.integral[rows] -= done.x[:, d:]
        fall.error[rows] += done.error
        fall.arrived[rows] = done.arrived
        angles = [_all(here, k * theta) for k in (1, 4, 16, 64) if k * theta <= theta1]
        near = [flow(here, a, rows) for a in angles]
        f[rows], q[rows], at[rows] = near[0].f, near[0].q, theta
        found = near_tail([r.kappa(here, a) for r, a in zip(near, angles, strict=True)], theta, allowed)
        for kept, new in zip(fall.tail, found, strict=True):
            kept[rows] = new
        fall.evaluations[rows] += done.evaluations + len(angles)
        left = ~(found.smooth & (found.error <= allowed)).cpu() & done.arrived
        rows, theta = rows[left], theta / 4
        if not len(rows) or theta < lowest:
            break
    return fall


def beyond(flow: Flow, z: Tensor, rates: Rates, theta: float, end: float) -> tuple[Tail, Tensor]:
    """(int kappa from `theta` to `end` at the fixed z, extrapolated; z at `end`): nothing where they are the same."""
    phi = end - theta
    if phi <= 0:
        return Tail(torch.zeros_like(rates.q), torch.zeros_like(rates.q[:, 0]), torch.ones_like(z[:, 0]) > 0), z
    gap = min(phi, theta / 2)
    at, before = _all(z, theta), _all(z, theta - gap)
    earlier = flow(z, before, torch.arange(len(z), device="cpu"))
    tail = far_tail(rates.kappa(z, at), earlier.kappa(z, before), phi, gap)
    return tail, z + phi * rates.f + phi**2 / (2 * gap) * (rates.f - earlier.f)


def _along_flow(
    flow: Flow, z: Tensor, rates: Rates, begin: Tensor, end: float, budget: float, tries: int, rows: Tensor
) -> Followed:
    """(z, int q) of the samples `rows` from the angles `begin` to `end`, larger or smaller, as `(n, d + C)`."""
    d, sign = z.shape[1], 1.0 if bool((begin < end).all()) else -1.0  # what is integrated along rises

    def slope(y: Tensor, u: Tensor, some: Tensor) -> Tensor:
        theta = angle(sign * u)
        rate = torch.cat(flow(y[:, :d], theta, rows[some]), 1)
        return rate * pad_right(sign * angle_rate(theta), rate)  # dtheta/du

    def judge(step: AdamsStep) -> Verdict:
        theta, z = angle(sign * step.u), step.x[:, :d]
        f = step.rate[:, :d] / pad_right(sign * angle_rate(theta), step.rate)
        score = Rates(f, f).score(z, theta)
        effects = [(score * e[:, :d]).sum(1).abs() + e[:, d:].mean(1).abs() for e in step.differences]
        noise = (score * z).abs().sum(1) * (angle_rate(theta) / torch.sin(theta)).to(z)
        return Verdict(torch.stack(effects), _rounding(flow, noise, step))

    y = torch.cat([z, torch.zeros_like(rates.q)], 1)
    return _integrated(slope, y, torch.cat(rates, 1), begin, end, judge, budget, tries)


def _at_fixed_z(flow: Flow, z: Tensor, start: Start, theta1: float, budget: float, rows: Tensor) -> Way:
    z, begin = z[rows], start.theta[rows]

    def rates_of(theta: Tensor, some: Tensor) -> tuple[Rates, Tensor]:
        """(the rates, kappa and what rounding makes of it, as columns)."""
        here = z[some]
        rates = flow(here, theta, rows[some])
        noise = (rates.score(here, theta) * here).abs().sum(1, keepdim=True) / pad_right(torch.sin(theta), here)
        return rates, torch.cat([rates.kappa(here, theta), noise], 1)

    def slope(_y: Tensor, u: Tensor, some: Tensor) -> Tensor:
        theta = angle(u)
        rate = rates_of(theta, some)[1]
        return rate * pad_right(angle_rate(theta), rate)

    def judge(step: AdamsStep) -> Verdict:
        effects = torch.stack([e[:, :-1].mean(1).abs() for e in step.differences])
        enough = PRECISION * step.rate[:, :-1].mean(1).abs().cpu() * step.size
        return Verdict(effects, _rounding(flow, step.rate[:, -1], step) + enough)

    every = torch.arange(len(z), device="cpu")
    opening = rates_of(begin, every)[1]
    done = _integrated(slope, torch.zeros_like(opening), opening, begin, theta1, judge, budget, 1000)
    rates = rates_of(_all(z, theta1), every)[0]
    finite = done.arrived & torch.isfinite(done.x).all(1)
    return Way(z, rates, done.x[:, :-1], done.error, finite, done.evaluations + 2)


def _integrated(
    slope: Slope, y: Tensor, rates: Tensor, begin: Tensor, end: float, judge: Judge, budget: float, tries: int
) -> Followed:
    sign = 1.0 if bool((begin < end).all()) else -1.0
    first, last = sign * torch.asinh(begin / BEND), sign * math.asinh(end / BEND)
    opening = pad_right(sign * angle_rate(begin), rates) * rates
    return follow(slope, y, opening, first, last, judge=judge, budget=budget, max_steps=tries)


def _rounding(flow: Flow, noise: Tensor, step: AdamsStep) -> Tensor:
    """What the rounding of the network's numbers does to the answer in a step: no step can be better than that."""
    return NOISE * torch.finfo(flow.directions.dtype).eps * noise.double().cpu() * step.size


def _all(z: Tensor, theta: float) -> Tensor:
    return torch.full((len(z),), theta, dtype=torch.float64, device="cpu")
