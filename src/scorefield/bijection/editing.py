"""Editing without training: noise what is given, then denoise it; or hold a part of it and let the model make the rest.

`edit` (SDEdit) perturbs x to the noise ratio s and solves back to the data. In the angle

    theta = atan(s / sd),    strength = theta / (pi / 2),

which no change of schedule alters, the standardised x_t has correlation cos(theta) with x. Data go to data: if x ~ p_0
then x_t ~ p_t, and both the ODE and the SDE take that back to p_0, whatever the strength. On Gaussian data, variance
sd^2, the edited x' has

    corr(x, x') = cos(theta) by the ODE, cos(theta)^2 by the SDE,    E |x' - x|^2 = 2 d sd^2 (1 - corr),

so the distance grows with strength, and the SDE keeps less.

`inpaint` (RePaint) replaces the known part of each x_s by the known data with fresh noise. What is new was made beside
another noise than that it then stands next to, so the known part pulls too little on the rest; walking the same stretch
again from its noised end lets them meet. It stays a heuristic: no number of walks makes the result a draw from the
posterior. Between two Gaussian numbers of correlation 0.8 the pull is 0.60 of what it should be after one walk, 0.77,
0.91 and 0.95 after 2, 5 and 20 (100 steps), and the residual variance 1.48, 1.19, 1.06 and 1.03 times too large. For
uncertainty that means something take a calibrated posterior sampler; this is for pictures.

References: Meng et al. 2022 (SDEdit), Lugmayr et al. 2022 (RePaint).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.randomness import Noise
from scorefield.sampling import Samples, sample
from scorefield.sampling.driver import run
from scorefield.sampling.parts import Part, bar, cut, initial
from scorefield.solvers import AnalyticDPM, Solver, recommended
from scorefield.solvers.base import DEFAULT_NFE, default_grid
from scorefield.tensors import require_batch


@torch.no_grad()
def edit(
    denoiser: Denoiser,
    x: Tensor,
    strength: float,
    *,
    solver: Solver | None = None,
    nfe: int | None = None,
    cond: Mapping[str, Any] | None = None,
    seed: int = 0,
    first_index: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> Samples:
    """Data like `x` `(B, *event)` and farther from it the larger `strength`: noise to that angle, and back.

    Args:
        strength: in [0, 1]; 0 returns x, 1 a fresh sample, the one `sample` draws with that seed. A process that ends
            before that angle starts at t = 1.
        solver: a multistep method for the ODE unless given; a stochastic one keeps less of x.
        nfe: evaluations a sample, all of them on the way back.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
            Of another class than that of x, it makes x into that.

    Raises:
        ValueError: for x that is not a finite floating point batch, a strength outside [0, 1], or a condition of
            another length than x.
    """
    _check(x)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1]; got {strength}")
    told = Conditions.of(cond, len(x), x.dtype, x.device)
    options: dict[str, Any] = {
        "cond": told, "seed": seed, "first_index": first_index, "chunk": chunk, "progress": progress,
    }  # fmt: skip
    if strength == 1:
        shape = tuple(x.shape)
        return sample(denoiser, shape, solver=solver, nfe=nfe, dtype=x.dtype, device=x.device, **options)
    schedule = denoiser.schedule
    s = denoiser.data_std * math.tan(strength * math.pi / 2)
    if s <= float(schedule.noise_ratio(0.0)):  # also strength 0: data as they are have that much noise already
        return Samples(x.clone(), 0)
    solver, times = _method(denoiser, solver, nfe, s)
    noise = Noise(seed, torch.arange(first_index, first_index + len(x), device=x.device), tuple(x.shape[1:]), x.dtype)
    return run(denoiser, schedule.perturb(x, times[0], noise.normal(0)), solver, times, doing="editing", **options)


@in_eval_mode
@torch.no_grad()
def inpaint(
    denoiser: Denoiser,
    x: Tensor,
    mask: Tensor,
    *,
    nfe: int = 250,
    resamples: int = 5,
    jump: int = 5,
    cond: Mapping[str, Any] | None = None,
    seed: int = 0,
    first_index: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> Samples:
    """`x` where `mask` holds, to the last bit, and what the model makes of the rest: by replacement and resampling.

    Biased, and by how much cannot be told from the result: see the top of this module.

    Args:
        x: `(B, *event)`; finite everywhere, of any value where `mask` does not hold.
        mask: bool, `(*event)` or `(B, *event)`, or what broadcasts to them: True where x is known.
        nfe: evaluations a sample: nfe // resamples ancestral steps, each walked `resamples` times.
        resamples: walks over each stretch of the grid; 1 is plain replacement.
        jump: steps in a stretch. Longer ones let new and known parts agree about more.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.

    Raises:
        ValueError: for x that is not a finite floating point batch, a mask that is not bool or does not fit, resamples
            or jump below 1, nfe below resamples, a condition of another length than x.
    """
    _check(x)
    if mask.dtype != torch.bool or not _fits(mask, x):
        shapes = f"{tuple(x.shape[1:])} or {tuple(x.shape)}"
        raise ValueError(f"mask must be bool of shape {shapes}; got {mask.dtype}, {tuple(mask.shape)}")
    if resamples < 1 or jump < 1 or nfe < resamples:
        raise ValueError(
            f"resamples and jump must be at least 1, nfe at least resamples; got {resamples}, {jump} and {nfe}"
        )
    times = default_grid(denoiser, nfe // resamples, stochastic=True)
    visits = list(_visits(len(times) - 1, jump, resamples))
    parts = list(cut(denoiser, x.shape, seed, first_index, cond, chunk, x.dtype, x.device))
    known = mask.to(x.device).expand_as(x)
    with bar(progress, len(visits) * len(parts), "inpainting") as advance:
        made = [_inpainted(denoiser, x[p.rows], known[p.rows], p, times, visits, advance) for p in parts]
    nfe = sum(j > i for i, j in visits)
    return Samples(torch.cat(made), nfe, depth=nfe)


def _inpainted(
    denoiser: Denoiser,
    x: Tensor,
    known: Tensor,
    part: Part,
    times: Tensor,
    visits: list[tuple[int, int]],
    advance: Callable[[], None],
) -> Tensor:
    schedule, normal = denoiser.schedule, part.noise.normal
    plan = AnalyticDPM().coefficients(denoiser, times[:-1], times[1:])
    x_t = torch.where(known, schedule.perturb(x, times[0], normal(0)), initial(denoiser, times[0], part.noise))
    for k, (i, j) in enumerate(visits):
        z = normal(k + 1)  # an entry is either known or new: one draw serves both
        if j > i:
            step = plan[i]
            new = step.x * x_t + step.x0 * part.denoise(x_t, times[i]) + step.noise * z
            x_t = torch.where(known, schedule.perturb(x, times[j], z), new)
        else:
            scale, std = schedule.transition(times[i], times[j])
            x_t = scale * x_t + std * z
        advance()
    return torch.where(known, x, x_t)


def _visits(steps: int, jump: int, resamples: int) -> Iterator[tuple[int, int]]:
    """Moves (from, to) between the nodes of a grid: each stretch of `jump` steps walked down `resamples` times."""
    for start in range(0, steps, jump):
        end = min(start + jump, steps)
        for walk in range(resamples):
            if walk:
                yield end, start
            yield from ((i, i + 1) for i in range(start, end))


def _method(denoiser: Denoiser, solver: Solver | None, nfe: int | None, s_max: float) -> tuple[Solver, Tensor]:
    """The solver and its grid from `s_max` down, of as many steps as it would take from t = 1."""
    if solver is None:
        steps = DEFAULT_NFE if nfe is None else nfe
        solver = recommended(denoiser.schedule, steps, data_std=denoiser.data_std).solver
    else:
        solver, whole = solver.within(denoiser, nfe)
        steps = len(whole) - 1
    return solver, default_grid(denoiser, steps, stochastic=solver.stochastic, s_max=s_max)


def _fits(mask: Tensor, x: Tensor) -> bool:
    try:
        return torch.broadcast_shapes(mask.shape, x.shape) == x.shape
    except RuntimeError:
        return False


def _check(x: Tensor) -> None:
    require_batch("x", x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
