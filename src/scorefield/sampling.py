"""`sample`: one driver for every solver.

It draws the start, cuts the batch into chunks that fit in memory, runs the solver's plan, counts network evaluations
and shows progress. Noise comes from a counter keyed by (seed, sample index, draw), so sample i is the same in any
batch, chunk or process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.randomness import Noise
from scorefield.schedules import Schedule, as_time
from scorefield.solvers import Bias, Solver, discretisation_bias, recommended
from scorefield.solvers.base import DEFAULT_NFE

CHUNK_ELEMENTS = 2**22  # numbers in x at a time, 16 MB in float32: a network needs some hundred times that besides
DRAWN_AT_ONCE = 2**15  # normals: for small batches an operation's fixed cost is what a draw costs

Callback = Callable[[Tensor, Tensor, Tensor], None]


class Settings(NamedTuple):
    """How samples were made: enough to say what the steps alone do to them."""

    solver: Solver
    times: Tensor  # (N + 1,)
    schedule: Schedule
    data_std: float


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
    def bias(self) -> Bias:
        """The error budget: the mean and std these steps give Gaussian data of data_std, over the true ones.

        Computed when asked for, in the time of a run on a few numbers: `solvers.discretisation_bias`.
        """
        if self.settings is None:
            raise ValueError("these samples do not say how they were made; see solvers.discretisation_bias")
        solver, times, schedule, data_std = self.settings
        return discretisation_bias(solver, schedule, times, data_std=data_std)


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
    progress: bool = False,
    callback: Callback | None = None,
    trajectory: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Samples:
    """Samples of the model, `(B, *event)`.

    Args:
        denoiser: E[x0 | x_t].
        start: the shape `(B, *event)`, or a tensor of that shape to start from at times[0].
        solver: `solvers.recommended` for that many evaluations unless given.
        times: the grid, decreasing, `(N + 1,)`; the solver ends at times[-1].
        nfe: instead of `times`: a grid of at most this many evaluations a sample (default 30); refused by solvers that
            choose their own steps.
        seed, first_index: sample i is a function of (seed, first_index + i) alone.
        cond: keyword arguments of the denoiser; tensors with a leading dimension B are cut into chunks with the batch.
        chunk: samples at a time; chosen by memory unless given.
        progress: show a bar.
        callback: called after each step with (s, x, preview of x0), for each chunk.
        trajectory: also return x at every time of the grid.
        dtype, device: of the samples, where `start` is a shape; by default those of the denoiser's parameters.

    Raises:
        ValueError: for a grid that does not decrease within [0, 1], a start that is not finite, `times` and `nfe`.
    """
    solver, times = _method(denoiser, solver, times, nfe)
    return run(
        denoiser,
        start,
        solver,
        times,
        seed=seed,
        first_index=first_index,
        cond=cond,
        chunk=chunk,
        progress=progress,
        callback=callback,
        trajectory=trajectory,
        dtype=dtype,
        device=device,
    )


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
    progress: bool = False,
    callback: Callback | None = None,
    trajectory: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    doing: str = "sampling",
) -> Samples:
    """`solver` along `times`, for `sample`, and for what goes the other way: the grid may increase (`latents.encode`).

    Arguments are those of `sample`; `doing` is what the progress bar says.
    """
    plan = solver.plan(denoiser, times)
    shape, dtype, device = _placement(denoiser, start, dtype, device)
    parts = list(cut(denoiser, shape, seed, first_index, cond, chunk, dtype, device))
    x, paths, counts, depth, differ = [], [], [], 0, False
    with bar(progress, len(plan) * len(parts), doing) as advance:
        for rows, noise, denoise in parts:
            x_t = start[rows] if isinstance(start, Tensor) else initial(denoiser, times[0], noise)
            state, path = solver.init(x_t), [x_t]
            normals = _Normals(noise)
            for step in plan:
                state = solver.step(denoise, state, step, normals)
                if trajectory:
                    path.append(state.x)
                if callback:
                    callback(step.s, state.x, state.x0)
                advance()
            x.append(state.x)
            if trajectory:
                paths.append(torch.stack(path))
            counts.append(denoise.evaluations)
            depth, differ = max(depth, denoise.calls), differ or denoise.whole < denoise.calls
    evaluations = torch.cat(counts)
    return Samples(
        torch.cat(x) if len(x) > 1 else x[0],
        int(evaluations.max()) if len(evaluations) else depth,
        torch.cat(paths, 1) if trajectory else None,
        times if trajectory else None,
        evaluations if differ else None,
        depth,
        Settings(solver, times, denoiser.schedule, denoiser.data_std),
    )


class Part(NamedTuple):
    """A piece of the batch that fits in memory."""

    rows: slice
    noise: Noise
    denoise: Bound


def cut(
    denoiser: Denoiser,
    shape: Sequence[int],
    seed: int,
    first_index: int,
    cond: Mapping[str, Any] | None,
    chunk: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[Part]:
    """The batch in pieces, each with its noise and its condition; an empty batch is one empty piece."""
    batch, event, size = shape[0], tuple(shape[1:]), len_of_chunk(shape, chunk)
    each, shared = _split(cond or {}, batch)
    for low in range(0, max(batch, 1), size):
        high = min(low + size, batch)
        noise = Noise(seed, torch.arange(first_index + low, first_index + high, device=device), event, dtype)
        own = {k: v[low:high] for k, v in each.items()}
        yield Part(slice(low, high), noise, Bound(denoiser, own, shared, high - low))


def initial(denoiser: Denoiser, t: Tensor, noise: Noise) -> Tensor:
    """x_t from the Gaussian of its mean and variance: draw 0 of each sample's noise."""
    mean, std = denoiser.schedule.prior(t, mean=denoiser.data_mean, std=denoiser.data_std)
    z = noise.normal(0)
    return std * z + (mean.to(z) if isinstance(mean, Tensor) else mean)


def len_of_chunk(shape: Sequence[int], chunk: int | None) -> int:
    """Samples at a time."""
    if chunk is None:
        return max(1, CHUNK_ELEMENTS // max(1, torch.Size(shape[1:]).numel()))
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    return chunk


class _Normals:
    """The solver's k-th normals; draws that follow each other are made a block at a time."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.first, self.block = noise, 0, ()
        self.size = max(1, DRAWN_AT_ONCE // max(1, len(noise.index) * torch.Size(noise.event_shape).numel()))

    def __call__(self, k: int) -> Tensor:
        if not 0 <= k - self.first < len(self.block):
            # draw 0 is the start
            self.first, self.block = k, self.noise.normals(range(k + 1, k + 1 + self.size)).unbind()
        return self.block[k - self.first]


class Bound:
    """The denoiser with its condition bound, counting its calls, and the evaluations of each sample."""

    def __init__(self, denoiser: Denoiser, each: dict[str, Tensor], shared: dict[str, Any], batch: int) -> None:
        self.denoiser, self.each, self.shared, self.batch = denoiser, each, shared, batch
        self.calls = self.whole = 0  # all calls, and those with the batch as it is
        self.apart = torch.zeros(batch, dtype=torch.int64)  # evaluations in the other calls

    @property
    def evaluations(self) -> Tensor:
        return self.apart + self.whole

    def __call__(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor:
        self.calls += 1
        each = self.each
        if rows is None:
            self.whole += 1
        else:
            self.apart += torch.bincount(rows.cpu(), minlength=self.batch)
            each = {key: value[rows] for key, value in each.items()}
        x0 = self.denoiser(x_t, t, **each, **self.shared)
        if self.calls == 1 and x0.shape != x_t.shape:
            raise ValueError(f"the denoiser must return the shape of x_t, {tuple(x_t.shape)}; got {tuple(x0.shape)}")
        return x0


def _method(denoiser: Denoiser, solver: Solver | None, times: Tensor | None, nfe: int | None) -> tuple[Solver, Tensor]:
    """The solver and its grid, each the given one or the default for the other."""
    if times is None:
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


def _placement(
    denoiser: Denoiser, start: Sequence[int] | Tensor, dtype: torch.dtype | None, device: torch.device | str | None
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    if isinstance(start, Tensor):
        if not start.is_floating_point() or start.ndim < 1:
            raise ValueError(
                f"start must be floating point of shape (B, *event); got {start.dtype}, {tuple(start.shape)}"
            )
        if not bool(torch.isfinite(start).all()):
            raise ValueError("start must be finite; got NaN or infinity")
        return tuple(start.shape), start.dtype, start.device
    shape = tuple(start)
    if not shape or any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"start must be a shape (B, *event) of integers >= 0, or a tensor; got {start!r}")
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), None)
    dtype = dtype or (own.dtype if own is not None else torch.float32)
    device = torch.device(device or (own.device if own is not None else "cpu"))
    return shape, dtype, device


def _split(cond: Mapping[str, Any], batch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(what each sample has of its own: tensors with a leading dimension B, what all share)."""
    each = {k: v for k, v in cond.items() if isinstance(v, Tensor) and v.ndim and len(v) == batch}
    return each, {k: v for k, v in cond.items() if k not in each}


@contextlib.contextmanager
def bar(show: bool, total: int, doing: str = "sampling") -> Iterator[Callable[[], None]]:
    if not show:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)
