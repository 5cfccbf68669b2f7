"""`tune`: a sampler fitted to one model, for one number of evaluations.

On the circle z = cos(theta) x0 / sd + sin(theta) eps a multistep method is a row of numbers a step,

    z_{i+1} = r_0 z_i + sum_j r_j F_j,    F = dz/du at the nodes passed so far, u = 2 theta / pi,

and where the exact path z*(u) is known, by many steps of the same model, the best row of step i, given the states
that the steps before it lead to, is a linear least-squares problem in a handful of unknowns: no gradients. Weights
1 / (error of the sample) keep the few that change modes from deciding for all. Grids are tried from a family of three
parameters, `grids.angular`, and the best kept. Held-out noise then says whether it was worth it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.randomness import Noise
from scorefield.sampling.driver import Samples, sample
from scorefield.sampling.parts import initial
from scorefield.schedules import floats
from scorefield.solvers import Multistep
from scorefield.solvers.base import Coordinate
from scorefield.solvers.tuned import CIRCLE, Tuned
from scorefield.tensors import as_tensor

POWERS, SCALES, ONSETS = (1.3, 1.6, 1.9, 2.3), (1.0, 2.0, 3.5), (1.0, 1.3)  # the grids that are tried
MEMORY = 4  # fields a row reads
ROUNDS = 3  # of least squares with new weights

Progress = Callable[[float], None]


class Distance(NamedTuple):
    """To the fine trajectories' ends, of samples from held-out noise, over the rms of those ends."""

    rms: float
    median: float


class Tuning(NamedTuple):
    """What `tune` found."""

    solver: Tuned
    default: Distance
    tuned: Distance
    teacher: Distance  # the fine trajectories' own error: their distance to some with half the steps

    @property
    def helps(self) -> bool:
        """Whether the geometric mean of RMS and median fell on held-out noise."""
        return self.tuned.rms * self.tuned.median < self.default.rms * self.default.median


@in_eval_mode
@torch.no_grad()
def tune(
    denoiser: Denoiser,
    event_shape: Sequence[int],
    nfe: int,
    *,
    paths: int = 256,
    teacher_steps: int = 128,
    seed: int = 0,
    cond: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Fits a method of `nfe` evaluations to `denoiser`, on `paths` trajectories; as many more judge it.

    Args:
        event_shape: of a sample.
        paths: trajectories to fit on. Costs some 2 (teacher_steps + 1.5) + 75 nfe evaluations of each.
        teacher_steps: of the fine trajectories.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
            There are 2 `paths` samples, of which the first half is fitted on.
        progress: called with the fraction that is done.

    Raises:
        ValueError: for fewer than two evaluations or paths, a condition of another length, a flow from another origin.
    """
    if nfe < 2:
        raise ValueError(f"nfe must be at least 2: one evaluation leaves nothing to tune; got {nfe}")
    if denoiser.origin is not None:
        raise ValueError("tune starts from Gaussian noise; got a flow from an origin of its own")
    if paths < 2:
        raise ValueError(f"paths must be at least 2; got {paths}")
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), torch.zeros((), device="cpu"))
    dtype = dtype or own.dtype
    said = progress or _silent
    noise = Noise(seed, torch.arange(2 * paths, device=own.device), tuple(event_shape), dtype)
    x = initial(denoiser, torch.ones((), dtype=torch.float64, device="cpu"), noise)
    told = Conditions.of(cond, 2 * paths, dtype, own.device)
    parts = [told.rows(slice(0, paths)), told.rows(slice(paths, None))]
    first, second = x[:paths], x[paths:]
    teacher = _Teacher(denoiser, first, teacher_steps, parts[0])
    said(0.2)
    best: tuple[float, Tuned] | None = None
    tried = list(itertools.product(POWERS, SCALES, ONSETS))
    for k, (power, scale, onset) in enumerate(tried):
        sd = denoiser.data_std
        times = grids.angular(denoiser.schedule, nfe, power=power, scale=scale * sd, onset=onset)
        score, rows = _fit(denoiser, first, times, teacher, parts[0])
        if best is None or score < best[0]:
            ratios = floats(denoiser.schedule.noise_ratio(times) / denoiser.data_std)
            best = score, Tuned((*ratios[:-1], 0.0), rows)
        said(0.2 + 0.6 * (k + 1) / len(tried))
    assert best is not None
    end = _fine(denoiser, second, teacher_steps, parts[1]).x
    half = _fine(denoiser, second, teacher_steps // 2, parts[1]).x
    runs = {
        "default": sample(denoiser, second, nfe=nfe, cond=parts[1]).x,
        "tuned": sample(denoiser, second, solver=best[1], cond=parts[1]).x,
        "teacher": half,
    }
    said(1.0)
    return Tuning(best[1], **{name: _distance(x, end) for name, x in runs.items()})


def _silent(fraction: float) -> None:
    """Progress that nobody asked for."""


def _fine(denoiser: Denoiser, x: Tensor, steps: int, cond: Mapping[str, Any], trajectory: bool = False) -> Samples:
    times = grids.angular(denoiser.schedule, steps, power=2.0, scale=2 * denoiser.data_std)
    solver = Multistep(order=5, finish=2)
    return sample(denoiser, x, solver=solver, times=times, cond=cond, trajectory=trajectory)


class _Teacher:
    """The model's own path z*(u), by cubic interpolation between fine steps."""

    def __init__(self, denoiser: Denoiser, x: Tensor, steps: int, cond: Mapping[str, Any]) -> None:
        run = _fine(denoiser, x, steps, cond, trajectory=True)
        assert run.trajectory is not None
        assert run.times is not None
        at = Coordinate.of(CIRCLE, denoiser, run.times)
        self.u = at.u
        self.z = run.trajectory
        for z, scale in zip(self.z, floats(at.scale), strict=True):
            z.mul_(scale)

    def __call__(self, u: Tensor) -> Tensor:
        """z* `(B, *event)` at `u` `()`."""
        i = int(torch.searchsorted(-self.u, -u).clamp(2, len(self.u) - 2))
        nodes = self.u[i - 2 : i + 2]
        z = torch.zeros_like(self.z[0])
        for j in range(4):
            others = nodes[torch.arange(4, device="cpu") != j]
            z = z.add_(self.z[i - 2 + j], alpha=float(((u - others) / (nodes[j] - others)).prod()))
        return z


def _fit(
    denoiser: Denoiser, x: Tensor, times: Tensor, teacher: _Teacher, cond: Mapping[str, Any]
) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """(mean log of the samples' distances to the path's end, the rows) on one grid."""
    at = Coordinate.of(CIRCLE, denoiser, times)
    of_x, of_x0 = (floats(c) for c in at.slope(denoiser))
    scale, alpha = floats(at.scale), floats(denoiser.schedule.alpha(times))
    mean = as_tensor(denoiser.data_mean).to(x)  # rows are about it
    targets = [teacher(u) - scale[i + 1] * alpha[i + 1] * mean for i, u in enumerate(at.u[1:])]
    rms = float(targets[-1].square().mean().sqrt())
    weight = torch.ones(len(x), dtype=torch.float64, device="cpu")
    best: tuple[float, tuple[tuple[float, ...], ...]] = (math.inf, ())
    for _ in range(ROUNDS):
        z = (x - alpha[0] * mean) * scale[0]
        past: list[Tensor] = []
        rows: list[tuple[float, ...]] = []
        for i, target in enumerate(targets):
            x_t = z / scale[i]
            x0 = denoiser(x_t + alpha[i] * mean, times[i], **cond) - mean
            field = torch.add(x_t * of_x[i], x0, alpha=of_x0[i])
            past = [field, *past[: MEMORY - 1]]
            row = _least_squares([z, *past], target, weight)
            z = row[0] * z
            for c, b in zip(row[1:], past, strict=True):
                z = z.add_(b, alpha=c)
            rows.append(tuple(row))
        error = (z - targets[-1]).double().reshape(len(z), -1).square().mean(1).sqrt().cpu() / rms
        score = float(torch.log(error + 1e-6).mean())
        if score < best[0]:
            best = score, tuple(rows)
        weight = 1 / torch.sqrt(error**2 + 4 * error.median() ** 2 + 1e-12)
    return best


def _least_squares(basis: list[Tensor], target: Tensor, weight: Tensor) -> list[float]:
    """Coefficients c that minimise sum_b weight_b |target_b - sum_k c_k basis_kb|^2."""
    root = weight.sqrt().to(target.device)[:, None]
    rows = [(b.double().reshape(len(b), -1) * root).reshape(-1) for b in (*basis, target)]
    gram = torch.stack([torch.stack([a @ b for b in rows]) for a in rows]).cpu()
    size = gram.diagonal()[:-1].sqrt().clamp(min=1e-30)
    matrix = gram[:-1, :-1] / size / size[:, None] + 1e-11 * torch.eye(len(basis), dtype=gram.dtype, device="cpu")
    # torch.linalg is not annotated
    solution = cast(Tensor, torch.linalg.solve(matrix, gram[:-1, -1] / size))  # pyright: ignore[reportUnknownMemberType]
    return floats(solution / size)


def _distance(x: Tensor, end: Tensor) -> Distance:
    error = (x - end).double().reshape(len(x), -1).square().mean(1).sqrt()
    rms = float(end.double().square().mean().sqrt())
    return Distance(float(error.square().mean().sqrt()) / rms, float(error.median()) / rms)
