"""The reverse SDE with step sizes of each sample's own (Jolicoeur-Martineau et al. 2021).

On a path z = a(u) x0 / sd + b(u) eps (see `solvers.base.Coordinate`; the process's own time unless given) the reverse
SDE is, with m(u) = d log(b / a) / du,

    dz = (p z + q D) du + r dW,    p = a'/a + 2 m,    q = -2 m a / sd,    r = b sqrt(2 m),    u falling.

A step of length h takes Euler-Maruyama, z', and the stochastic improved Euler method, z'', with the same increment W
of the Brownian motion (Roberts 2012), keeps z'' (extrapolation), and measures their distance in units of what is
allowed,

    z'  = z - h (p z + q D)(u) + r(u) W
    z'' = (z' + z - h (p z' + q D')(u - h) + r(u - h) W) / 2
    E   = rms over the sample of (z' - z'') / max(atol, rtol max(|z'|, |z'_previous|)).

It is accepted where E <= 1; the next h is safety E^-exponent h. The noise is additive, so the method has weak order 2.

Refused steps keep their noise. To draw afresh would favour the increments that make small errors, and bias the law: on
one-dimensional Gaussian data the variance comes out 2.7 times too large. So what is known of the Brownian motion ahead,
a stack of intervals and increments, is kept, and shorter steps fill it in by Brownian bridges (Rackauckas & Nie 2017,
rejection sampling with memory). The prediction at the beginning of the step is kept as well: a refused step costs one
evaluation, an accepted one two.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.schedules import VP, Schedule, derivative, pad_right
from scorefield.solvers.adaptive import finite_rows, rms
from scorefield.solvers.base import (
    Coordinate,
    Denoise,
    Normals,
    Solver,
    State,
    Step,
    default_grid,
    finite,
    left_behind,
)

ATTEMPTS = 10_000  # between two nodes of the grid; their draws are numbered by it
ROUNDING = 1e-9  # relative: intervals of the path's time that differ by less are the same


class _Coefficients(NamedTuple):
    """Of the reverse SDE at times `(n,)` of the path, each `(n,)`."""

    t: Tensor  # of the process
    scale: Tensor  # z / x
    p: Tensor
    q: Tensor
    r: Tensor


@dataclass(frozen=True)
class _ReverseSDE:
    schedule: Schedule
    path: Schedule | None
    data_std: float

    def at(self, u: Tensor) -> _Coefficients:
        path, sd = (self.path, self.data_std) if self.path is not None else (self.schedule, 1.0)
        a, b = path(u)
        log_a, log_b = (derivative(lambda v, f=f: torch.log(f(v)), u) for f in (path.alpha, path.sigma))
        m = log_b - log_a
        t, scale = u, torch.ones_like(u)
        if self.path is not None:
            t = self.schedule.time_of_log_snr(torch.log(a / b) - math.log(sd))
            alpha, sigma = self.schedule(t)
            # not torch.hypot, whose last bit may depend on the place in the batch
            scale = torch.sqrt((a * a + b * b) / ((alpha * sd) ** 2 + sigma * sigma))
        return _Coefficients(t, scale, log_a + 2 * m, -2 * m * a / sd, b * torch.sqrt(2 * m))


class _Segment(NamedTuple):
    """From one node of the grid to the next."""

    sde: _ReverseSDE
    start: float  # in the path's time
    end: float
    scale: tuple[float, float]  # z / x at both
    t: Tensor  # the process's time at the end
    last: bool  # whether E[x0 | x] follows


class _Memory:
    """What is known of each sample's Brownian motion ahead: a stack of intervals, the nearest on top."""

    def __init__(self, x: Tensor) -> None:
        self.depth = torch.zeros(len(x), dtype=torch.int64, device="cpu")
        self.length = torch.zeros(1, len(x), dtype=torch.float64, device="cpu")  # (K, B)
        self.increment = torch.zeros_like(x)[None]  # (K, B, *event)

    def copy(self) -> _Memory:
        other = copy.copy(self)
        other.depth, other.length, other.increment = self.depth.clone(), self.length.clone(), self.increment.clone()
        return other

    def top(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """(length, increment) of the nearest interval; an infinite length where nothing is known, None if nowhere."""
        depth = self.depth[rows]
        if not bool(depth.any()):
            return None
        at = (depth - 1).clamp(min=0)
        return torch.where(depth > 0, self.length[at, rows], math.inf), self.increment[at, rows]

    def keep(self, rows: Tensor, h: Tensor, w: Tensor, accept: Tensor) -> None:
        """Takes in that the increment over the next `h`, no more than the nearest interval, is `w`: used or refused."""
        known = self.top(rows)
        length = known[0] if known else torch.full_like(h, math.inf)
        if known:
            within = (h < length) & torch.isfinite(length)
            i = rows[within]
            at = self.depth[i] - 1
            self.length[at, i], self.increment[at, i] = (length - h)[within], (known[1] - w)[within]
            self.depth[rows[accept & (h == length)]] -= 1
        new = ~accept & (h < length)
        i = rows[new]
        if len(i) and int(self.depth[i].max()) == len(self.length):
            self.length, self.increment = (
                torch.cat([v, torch.zeros_like(v[:1])]) for v in (self.length, self.increment)
            )
        self.length[self.depth[i], i], self.increment[self.depth[i], i] = h[new], w[new]
        self.depth[i] += 1


class _Carry(NamedTuple):
    """What an adaptive step hands on besides x."""

    h: Tensor  # (B,) the next length to try, in the path's time
    previous: Tensor  # (B, *event) z' of the last accepted step
    memory: _Memory


@dataclass(frozen=True)
class AdaptiveSDE(Solver):
    """Jolicoeur-Martineau et al. (2021), alg. 1, on any process, between the nodes of any grid; weak order 2.

    Every sample has its own time and step, a function of itself alone, and stops costing evaluations when it arrives;
    `Samples.evaluations` counts them. Without a grid it runs from a noise of 80 standard deviations of the data, or
    from the process's own if that is less, to 0. Where sigma(s) = 0 the SDE is followed down to a noise of 0.002
    standard deviations, and E[x0 | x] closes. Between two attempts the device waits for the host.

    A step is accepted, and an interval of known noise divided, at a threshold, and small errors make long steps, which
    enlarges rounding: where a network's last bits differ, in another batch or on another processor, a sample may take
    other steps and end elsewhere, within what the tolerance allows. `sample(exact=True)` keeps its bits.

    Args:
        rtol, atol: what a step's error may be, of the sample's size and absolute (in the path's units: the process's,
            or with a `path` standard deviations of the data). The paper's are 0.01 to 0.05 and 1/128 for data in
            [-1, 1].
        path: the process whose SDE is followed: a VP one unless given, so that tolerances mean the same, and cost the
            same, on every process; None for the denoiser's own in its own time.
        first: the first step, in the path's time.
        safety, exponent: the paper's theta and r.

    Raises:
        ValueError: for tolerances that are negative or both 0, a first step that is not positive, a safety or an
            exponent outside (0, 1); in sampling, for a path that is singular at the start of the grid.
    """

    rtol: float = 0.02
    atol: float = 1 / 128
    path: Schedule | None = field(default_factory=lambda: VP.from_terminal_alpha(1e-5))
    first: float = 0.01
    safety: float = 0.9
    exponent: float = 0.9

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol >= 0 and self.rtol + self.atol > 0 and self.first > 0):
            raise ValueError(
                "AdaptiveSDE: rtol and atol must be at least 0 and one of them positive, first positive; "
                f"got {self.rtol}, {self.atol} and {self.first}"
            )
        if not (0 < self.safety < 1 and 0 < self.exponent <= 1):
            raise ValueError(
                f"AdaptiveSDE: safety must lie in (0, 1) and exponent in (0, 1]; got {self.safety} and {self.exponent}"
            )

    @property
    def order(self) -> int:
        return 2

    @property
    def evaluations(self) -> int:
        return 2

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def adaptive(self) -> bool:
        return True

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        """This method and a grid of one step.

        Raises:
            ValueError: for a number of evaluations: the tolerances decide that.
        """
        if nfe is not None:
            raise ValueError(f"nfe: AdaptiveSDE chooses its own steps; set rtol (now {self.rtol:g}) instead of {nfe}")
        return self, default_grid(denoiser, 1, stochastic=True)

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[_Segment]:
        schedule, sd = denoiser.schedule, denoiser.data_std
        sde = _ReverseSDE(schedule, self.path, sd)
        last = schedule.sigma(s) == 0
        lowest = schedule.time_of_log_snr(-math.log(grids.S_MIN * sd))
        stop = torch.where(last, torch.minimum(lowest, t), s)
        here, there = (Coordinate.of(self.path, denoiser, v) for v in (t, stop))
        begin = sde.at(here.u)
        finite(self, t, x=begin.p, x0=begin.q, noise=begin.r)
        ends = (v.tolist() for v in (here.u, there.u))
        scales = zip(here.scale.tolist(), there.scale.tolist(), strict=True)
        return [_Segment(sde, *row) for row in zip(*ends, scales, stop, last.tolist(), strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        segment: _Segment = step.coefficients
        sde, end = segment.sde, segment.end
        z, x0 = state.x * segment.scale[0], state.x0.clone()
        batch = len(z)
        carry = (
            state.past[0]
            if state.past
            else _Carry(torch.full((batch,), self.first, dtype=torch.float64, device="cpu"), z, _Memory(z))
        )
        h_next, previous, memory = carry.h.clone(), carry.previous.clone(), carry.memory.copy()
        u = torch.full((batch,), segment.start, dtype=torch.float64, device="cpu")
        now = torch.stack(sde.at(u))  # the coefficients where each sample stands
        fresh = torch.zeros(batch, dtype=torch.bool, device="cpu")  # whether x0 is the prediction at (z, u)
        lost = ~finite_rows(z).cpu()
        for attempt in range(ATTEMPTS):
            rows = torch.nonzero((u > end) & ~lost).squeeze(1)
            if not len(rows):
                break
            # how far
            left, known = u[rows] - end, memory.top(rows)
            h = torch.minimum(h_next[rows], left)
            share = torch.zeros_like(h)  # of the known interval
            if known:
                share = 1 / torch.ceil(known[0] / h - ROUNDING).clamp(min=1)  # cut evenly, so that no scrap is left
                h = torch.where(share > 0, known[0] * share, h)
            new_u = torch.where(h < left * (1 - ROUNDING), u[rows] - h, end)
            here, there = _Coefficients(*now[:, rows]), sde.at(new_u)
            # W over h: a bridge where more is known, new where nothing is
            w = pad_right(torch.sqrt(h * (1 - share)), z) * normals(step.index * ATTEMPTS + attempt)[rows]
            if known:
                w += pad_right(share, z) * known[1]
            # two predictions, the first unless it is left over from a refused step
            todo = ~fresh[rows]
            i, z_t = rows[todo], z[rows]
            if len(i):
                x0[i] = denoise(z_t[todo] / pad_right(here.scale[todo], z), here.t[todo], i)
                fresh[i] = True
            euler = z_t + _change(here, h, z_t, x0[rows], w)
            x0_s = denoise(euler / pad_right(there.scale, z), there.t, rows)
            improved = (euler + z_t + _change(there, h, euler, x0_s, w)) / 2
            # is it good enough
            allowed = torch.maximum(euler.abs(), previous[rows].abs()).mul_(self.rtol).clamp_(min=self.atol)
            error = rms((euler - improved) / allowed).cpu().double()
            lost[rows[~torch.isfinite(error)]] = True
            accept = error <= 1  # not if it is NaN
            # exp and log, not a power, whose last bit may depend on the place in the batch
            proposal = self.safety * h * torch.exp(-self.exponent * torch.log(error))
            cut_short = accept & (h < h_next[rows])
            h_next[rows] = torch.where(cut_short, torch.maximum(proposal, h_next[rows]), proposal)
            memory.keep(rows, h, w, accept)
            i = rows[accept]
            u[i], z[i], previous[i], x0[i] = new_u[accept], improved[accept], euler[accept], x0_s[accept]
            now[:, i], fresh[i] = torch.stack(there)[:, accept], False
        stopped = state.stopped
        if bool((lost := lost | (u > end)).any()):
            z[lost] = math.nan
            stopped = left_behind(stopped, lost, sde.at(u).t)
        x = z / segment.scale[1]
        if segment.last:
            x = x0 = denoise(x, segment.t)
        return State(x, x0, (_Carry(h_next, previous, memory),), stopped)


def _change(at: _Coefficients, h: Tensor, z: Tensor, x0: Tensor, w: Tensor) -> Tensor:
    """-h (p z + q D) + r W."""
    of_z, of_x0, of_w = (pad_right(c, z) for c in (-h * at.p, -h * at.q, at.r))
    return (of_z * z).add_(of_x0 * x0).add_(of_w * w)
