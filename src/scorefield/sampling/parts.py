"""What every driver needs: the batch in pieces that fit in memory, each with its noise and its condition; the start."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.randomness import BrownianMotion, Noise
from scorefield.schedules import floats
from scorefield.tensors import require_batch

CHUNK_ELEMENTS = 2**22  # numbers in x at a time, 16 MB in float32: a network needs some hundred times that besides
EXACT_CHUNK = 32  # samples at a time where bits are wanted: what a single one costs then

# normals: for small batches an operation's fixed cost is what a draw costs
FIRST_BLOCK, DRAWN_AT_ONCE = 8, 2**15


class Part(NamedTuple):
    """A piece of the batch that fits in memory."""

    rows: slice | Tensor  # of the batch; an exact piece is filled up with copies of its first and last
    kept: slice  # of the piece: which are not copies
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
    exact: bool = False,
) -> Iterator[Part]:
    """The batch in pieces, each with its noise and its condition; an empty batch is one empty piece.

    Where exact, all pieces are of one size and sample i of all that a seed can draw stands at place i mod size: then
    every product of a network has the same shape, and the sample the same place in it, in any batch.
    """
    batch, event, size = shape[0], tuple(shape[1:]), len_of_chunk(shape, chunk, exact)
    told = Conditions.of(cond, batch, dtype, device)
    exact = exact and batch > 0
    for low in range(-(first_index % size) if exact else 0, max(batch, 1), size):
        first, high = max(low, 0), min(low + size, batch)
        kept = slice(first - low, high - low)
        held = torch.arange(low, low + size if exact else high, device=device).clamp(0, max(batch - 1, 0))
        rows = held if exact else slice(first, high)
        noise = Noise(seed, first_index + held, event, dtype)
        yield Part(rows, kept, noise, Bound(denoiser, told.rows(rows), len(held), kept if exact else None))


def initial(denoiser: Denoiser, t: Tensor, noise: Noise) -> Tensor:
    """x_t from the Gaussian of its mean and variance: draw 0 of each sample's noise."""
    mean, std = denoiser.prior(t)
    z = noise.normal(0)
    return std * z + (mean.to(z) if isinstance(mean, Tensor) else mean)


def len_of_chunk(shape: Sequence[int], chunk: int | None, exact: bool = False) -> int:
    """Samples at a time, whatever the batch.

    Raises:
        ValueError: for a chunk below 1.
    """
    if chunk is None:
        size = max(1, CHUNK_ELEMENTS // max(1, torch.Size(shape[1:]).numel()))
        return min(size, EXACT_CHUNK) if exact else size
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    return chunk


class Normals:
    """The solver's k-th normals; draws that follow each other are made a block at a time, each twice the last."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.first, self.block = noise, 0, ()
        self.most = max(1, DRAWN_AT_ONCE // max(1, len(noise.index) * torch.Size(noise.event_shape).numel()))

    def __call__(self, k: int) -> Tensor:
        if not 0 <= k - self.first < len(self.block):
            follows = k == self.first + len(self.block)
            size = min(max(FIRST_BLOCK, 2 * len(self.block) if follows else 0), self.most)
            # draw 0 is the start
            self.first, self.block = k, self.noise.normals(range(k + 1, k + 1 + size)).unbind()
        return self.block[k - self.first]


class Increments:
    """The solver's k-th normals as increments of one Brownian motion W over its k-th step, whatever the grid.

        z = (W(u_s) - W(u_t)) / sqrt(u_s - u_t),    u = (alpha sd / sigma)^2.

    In the signal-to-noise ratio u the reverse SDE is d(x alpha sd^2 / sigma^2) = D du + sd dW: noise adds up as it is,
    so that a step's is the sum of those of the steps it is cut into.
    """

    def __init__(self, noise: Noise, denoiser: Denoiser, times: Tensor) -> None:
        self.noise, self.motion = noise, BrownianMotion(noise)
        # where sigma = 0 no noise is added, and what W is there does not matter
        self.snr = floats(((denoiser.data_std / denoiser.schedule.noise_ratio(times)) ** 2).clamp(max=2.0**94))
        self.last: tuple[tuple[int, int], Tensor] | None = None  # where the step before ended

    def __call__(self, k: int) -> Tensor:
        here, there = (self.motion.node(u) for u in self.snr[k : k + 2])
        width = self.motion.time(there) - self.motion.time(here)
        if not width > 0:  # shorter than times are told apart
            return self.noise.normal(k + 1)
        before = self.last[1] if self.last is not None and self.last[0] == here else self.motion(here)
        self.last = there, self.motion(there)
        return ((self.last[1] - before) / math.sqrt(width)).to(self.noise.dtype)


class Bound:
    """The denoiser with its condition bound, counting its calls, and the evaluations of each sample.

    Args:
        kept: where exact, which samples are counted: the others fill up the piece. Calls are of whole pieces then.
    """

    def __init__(self, denoiser: Denoiser, cond: Conditions, batch: int, kept: slice | None = None) -> None:
        self.denoiser, self.cond, self.batch, self.kept = denoiser, cond, batch, kept
        self.calls = self.batch_calls = 0  # all calls, and those with the batch as it is
        # of each sample, in the calls for some rows
        self.row_evaluations = torch.zeros(batch, dtype=torch.int64, device="cpu")

    @property
    def evaluations(self) -> Tensor:
        return (self.row_evaluations + self.batch_calls)[self.kept or slice(None)]

    def __call__(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            self.calls, self.batch_calls = self.calls + 1, self.batch_calls + 1
            return self.denoiser(x_t, t, **self.cond)
        count = torch.bincount(rows.cpu(), minlength=self.batch)
        self.row_evaluations += count
        if self.kept is not None:
            self.calls += int(count[self.kept].max())
            return self._in_place(x_t, t, rows.cpu())
        self.calls += 1
        return self.denoiser(x_t, t, **self.cond.rows(rows))

    def _in_place(self, x_t: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Each at its own place of a call of the whole piece, the other places filled with one of them.

        A sample that is there n times takes n calls, its k-th time in the k-th, whoever else is there.
        """
        order = rows.argsort(stable=True)
        turn = torch.empty_like(rows)
        turn[order] = torch.arange(len(rows), device="cpu") - torch.searchsorted(rows[order], rows[order])
        x0 = torch.empty_like(x_t)
        for k in range(int(turn.max()) + 1 if len(rows) else 0):
            now = (turn == k).nonzero()[:, 0]
            held = now[:1].repeat(self.batch)
            held[rows[now]] = now
            x0[now] = self.denoiser(x_t[held], t if t.ndim == 0 else t[held], **self.cond)[rows[now]]
        return x0


def placement(
    denoiser: Denoiser, start: Sequence[int] | Tensor, dtype: torch.dtype | None, device: torch.device | str | None
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """(shape, dtype, device) of x: those of a tensor to start from, or asked for, or of the denoiser's parameters.

    Raises:
        ValueError: for a tensor that is not floating point (B, *event) and finite, or a shape of anything but integers
            >= 0.
    """
    if isinstance(start, Tensor):
        require_batch("start", start)
        if not bool(torch.isfinite(start).all()):
            raise ValueError("start must be finite; got NaN or infinity")
        return tuple(start.shape), start.dtype, start.device
    try:
        shape = tuple(operator.index(n) for n in start)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 0:
        raise ValueError(f"start must be a shape (B, *event) of integers >= 0, or a tensor; got {start!r}")
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), None)
    dtype = dtype or (own.dtype if own is not None else torch.float32)
    device = torch.device(device or (own.device if own is not None else "cpu"))
    return shape, dtype, device


@contextlib.contextmanager
def bar(show: bool, total: int, doing: str = "sampling") -> Generator[Callable[[], None], None, None]:
    if not show:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)
