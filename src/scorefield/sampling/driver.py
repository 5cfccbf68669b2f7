"""`sample`: one driver for every solver.

It draws the start, cuts the batch into chunks that fit in memory, runs the solver's plan, counts network evaluations
and shows progress. Noise comes from a counter keyed by (seed, sample index, draw), so sample i is the same in any
batch, chunk or process: to rounding, and to the bit where all arithmetic is elementwise or `exact` is asked for.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield._caller import warn
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode, require
from scorefield.flowmaps import FlowMap
from scorefield.sampling import account
from scorefield.sampling.parts import Increments, Normals, bar, cut, initial, placement
from scorefield.schedules import Schedule, as_time
from scorefield.solvers import Bias, Multistep, PathVelocity, Solver, discretisation_bias, recommended
from scorefield.solvers.base import DEFAULT_NFE

Callback = Callable[[Tensor, Tensor, Tensor], None]
BIASED = 0.1  # the error budget above which `sample` warns: what an eye sees


class Settings(NamedTuple):
    """How samples were made: enough to say what the steps alone do to them."""

    solver: Solver
    times: Tensor  # (N + 1,)
    schedule: Schedule
    data_std: float
    data_range: tuple[float, float] | None = None


class Samples(NamedTuple):
    """What `sample` returns."""

    x: Tensor  # (B, *event)
    nfe: int  # network evaluations for each sample; where samples differ, the most that any needed
    trajectory: Tensor | None = None  # (N + 1, B, *event), if asked for
    times: Tensor | None = None  # (N + 1,)
    evaluations: Tensor | None = None  # (B,) network evaluations, where samples may differ
    depth: int = 0  # network calls one after another: below nfe where some are made at once
    settings: Settings | None = None

    @property
    def failed(self) -> Tensor:
        """`(B,)` bool: the samples that are NaN, in part or whole; a warning has said so, and the others are theirs."""
        return account.failed(self.x)

    @property
    def escaped(self) -> Tensor | None:
        """`(B,)` bool: those with an entry outside `Denoiser.data_range` by over a tenth of it; None if unknown."""
        known = None if self.settings is None else self.settings.data_range
        return None if known is None else account.escaped(self.x, known)

    @property
    def bias(self) -> Bias:
        """The error budget: the mean and std these steps give Gaussian data of data_std, over the true ones.

        Computed when asked for, in the time of a run on a few numbers: `solvers.discretisation_bias`.

        Raises:
            ValueError: where `settings` is None, as for samples put together by hand.
        """
        if self.settings is None:
            raise ValueError("these samples do not say how they were made; see solvers.discretisation_bias")
        solver, times, schedule, data_std, _ = self.settings
        return discretisation_bias(solver, schedule, times, data_std=data_std)


@in_eval_mode
@torch.no_grad()
def sample(
    denoiser: Denoiser,
    start: Sequence[int] | Tensor,
    *,
    solver: Solver | None = None,
    times: Tensor | None = None,
    nfe: int | None = None,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    exact: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
    trajectory: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    brownian: bool = False,
) -> Samples:
    """Samples of the model, `(B, *event)`, detached: no gradient goes through the steps.

    A sample that cannot be had, for predictions that are not finite or a solver that does not arrive, is NaN, costs the
    others nothing and is marked in `Samples.failed`. One that left the range of the training data, where the denoiser
    knows it, is in `Samples.escaped`. Each kind is said once, in a UserWarning.

    Args:
        denoiser: E[x0 | x_t].
        start: the shape `(B, *event)`, or a tensor of that shape to start from at times[0]: draws of x_t there, of
            scale `denoiser.prior(times[0])`. One of quite another scale is taken, and said.
        solver: `solvers.recommended` for that many evaluations unless given; for a flow Adams' method in its own time,
            for a flow map jumps.
        times: the grid, decreasing, `(N + 1,)`; the solver ends at times[-1].
        nfe: instead of `times`: a grid of at most this many evaluations a sample (default 30), for a flow map 2;
            refused by solvers that choose their own steps. Where it is too short for the `solver` (`Samples.bias`
            above 10%), that is said.
        seed, first_index: sample i is a function of (seed, first_index + i) alone.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
        chunk: samples at a time; chosen by memory unless given.
        exact: the same bits in any batch, on one machine: pieces of exactly `chunk` samples (32 unless given; samples
            are a function of it too), filled up where the batch does not fill them, so that one costs as much as all.
        progress: show a bar.
        callback: called after each step with (s, x, preview of x0), for each chunk.
        trajectory: also return x at every time of the grid.
        dtype, device: of the samples, where `start` is a shape; by default those of the denoiser's parameters.
        brownian: noise of the steps from one Brownian motion for each sample, the same on any grid and schedule, so
            that a finer grid brings a sample nearer to where its own path ends. Costs some 20 draws a step; what is
            drawn without it is another path, on every grid.

    Raises:
        ValueError: for a grid that does not decrease within [0, 1], a start that is not finite, `times` and `nfe`, a
            condition of another length than the batch, or `brownian` with a solver that has other noise than one draw
            a step.
    """
    named, given = solver is not None, times is not None
    solver, times = _method(denoiser, solver, times, nfe)
    if brownian and not solver.increments:
        raise ValueError(f"brownian: {type(solver).__name__} has other noise than one draw a step; DDPM, for one, has")
    if named and not given:
        _budget(denoiser, solver, times)
    if isinstance(start, Tensor) and start.is_floating_point() and denoiser.origin is None:
        _compare(denoiser, start, times[0])
    return run(
        denoiser,
        start,
        solver,
        times,
        seed=seed,
        first_index=first_index,
        cond=cond,
        chunk=chunk,
        exact=exact,
        progress=progress,
        callback=callback,
        trajectory=trajectory,
        dtype=dtype,
        device=device,
        brownian=brownian,
    )


@in_eval_mode
@torch.no_grad()
def run(
    denoiser: Denoiser,
    start: Sequence[int] | Tensor,
    solver: Solver,
    times: Tensor,
    *,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    exact: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
    trajectory: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    brownian: bool = False,
    doing: str = "sampling",
) -> Samples:
    """`solver` along `times`, for `sample`, and for what goes the other way: the grid may increase (`latents.encode`).

    Arguments are those of `sample`; `doing` is what the progress bar says.

    Raises:
        ValueError: as `sample`, and for a denoiser without the score or the velocity that the solver follows.
    """
    if not solver.learned:
        require(denoiser, "score" if solver.stochastic else "velocity", type(solver).__name__)
    plan = solver.plan(denoiser, times)
    shape, dtype, device = placement(denoiser, start, dtype, device)
    parts = list(cut(denoiser, shape, seed, first_index, cond, chunk, dtype, device, exact))
    x: list[Tensor] = []
    paths: list[Tensor] = []
    counts: list[Tensor] = []
    stops: list[Tensor] = []
    depth, differ = 0, False
    with bar(progress, len(plan) * len(parts), doing) as advance:
        for rows, kept, noise, denoise in parts:
            x_t = start[rows] if isinstance(start, Tensor) else initial(denoiser, times[0], noise)
            state, path = solver.init(x_t), [x_t[kept]]
            normals = Increments(noise, denoiser, times) if brownian else Normals(noise)
            for step in plan:
                state = solver.step(denoise, state, step, normals)
                if trajectory:
                    path.append(state.x[kept])
                if callback:
                    callback(step.s, state.x[kept], state.x0[kept])
                advance()
            stopped = state.stopped
            if stopped is None:
                stopped = torch.full((len(state.x),), math.nan, dtype=torch.float64, device="cpu")
            else:  # whatever a denoiser makes of NaN
                state.x[~stopped.isnan()] = math.nan
            stops.append(stopped[kept])
            x.append(state.x[kept])
            if trajectory:
                paths.append(torch.stack(path))
            counts.append(denoise.evaluations)
            depth, differ = max(depth, denoise.calls), differ or denoise.batch_calls < denoise.calls
    evaluations = torch.cat(counts)
    made = torch.cat(x) if len(x) > 1 or exact else x[0]
    account.tell(made, torch.cat(stops), denoiser.data_range, doing)
    return Samples(
        made,
        int(evaluations.max()) if len(evaluations) else depth,
        torch.cat(paths, 1) if trajectory else None,
        times if trajectory else None,
        evaluations if differ else None,
        depth,
        Settings(solver, times, denoiser.schedule, denoiser.data_std, denoiser.data_range),
    )


def _compare(denoiser: Denoiser, start: Tensor, t: Tensor) -> None:
    """Says where `start` is of another scale than x_t: randn for a VE process, data for noise, other units.

    The mean square of its standardised entries is 1 on average; beyond a factor of 4, and 6 standard deviations of what
    n independent entries have, it is no draw of x_t. Where data are seen through the noise their entries go together,
    and nothing is said.
    """
    ratio = float(denoiser.schedule.noise_ratio(t))
    if not start.numel() or ratio < denoiser.data_std or not bool(torch.isfinite(start).all()):
        return
    mean, std = denoiser.schedule.prior(t, mean=denoiser.data_mean, std=denoiser.data_std)
    z = (start.detach().double() - (mean.to(start) if isinstance(mean, Tensor) else mean)) / std
    square = float(z.square().mean())
    if not abs(math.log(max(square, 1e-300))) < math.log(4) + 6 * math.sqrt(2 / z.numel()):
        warn(
            f"start is {math.sqrt(square):.3g} times as large as x_t is at t = {float(t):g}, where its standard "
            f"deviation is {float(std):.3g}: start from a shape, or from draws of denoiser.prior(t)",
        )


def _budget(denoiser: Denoiser, solver: Solver, times: Tensor) -> None:
    """Says so where the grid a solver takes of itself is too short for it: its error budget exceeds BIASED."""
    if solver.adaptive or solver.learned:
        return
    bias = discretisation_bias(solver, denoiser.schedule, times, data_std=denoiser.data_std)
    if not max(abs(bias.std - 1), abs(bias.mean - 1)) <= BIASED:
        warn(
            f"{type(solver).__name__} in {len(times) - 1} steps multiplies the standard deviation of Gaussian data by "
            f"{bias.std:.3g} and their mean by {bias.mean:.3g}: take more evaluations, or name no solver",
        )


def _method(denoiser: Denoiser, solver: Solver | None, times: Tensor | None, nfe: int | None) -> tuple[Solver, Tensor]:
    """The solver and its grid, each the given one or the default for the other."""
    if solver is not None and not isinstance(solver, Solver):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"solver must be a Solver, such as sf.Heun(); got {solver!r}")
    if nfe is not None:
        try:
            nfe = operator.index(nfe)
        except TypeError:
            raise TypeError(f"nfe must be an integer; got {nfe!r}") from None
    if times is None:
        if solver is None and isinstance(denoiser, FlowMap):
            return denoiser.method(nfe)
        if solver is None and "score" in denoiser.lacks:  # a flow, whose paths are straight in its own time if in any
            count = DEFAULT_NFE if nfe is None else nfe
            return Multistep(order=2, field=PathVelocity()), torch.linspace(
                1, 0, count + 1, dtype=torch.float64, device="cpu"
            )
        if solver is None:
            return recommended(denoiser.schedule, DEFAULT_NFE if nfe is None else nfe, data_std=denoiser.data_std)
        return solver.within(denoiser, nfe)
    if nfe is not None:
        raise ValueError("give either times or nfe, not both")
    times = as_time(times)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a grid (N + 1,) with N at least 1; got shape {tuple(times.shape)}")
    if bool((rising := times.diff() >= 0).any()):
        i = int(rising.nonzero()[0, 0])
        raise ValueError(
            f"times must decrease, from noise to data; got times[{i}] = {float(times[i]):g} and "
            f"times[{i + 1}] = {float(times[i + 1]):g}"
        )
    return solver or recommended(denoiser.schedule, len(times) - 1, data_std=denoiser.data_std).solver, times
