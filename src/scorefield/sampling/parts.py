"""What every driver needs: the batch in pieces that fit in memory, each with its noise and its condition; the start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.randomness import Noise

CHUNK_ELEMENTS = 2**22  # numbers in x at a time, 16 MB in float32: a network needs some hundred times that besides


DRAWN_AT_ONCE = 2**15  # normals: for small batches an operation's fixed cost is what a draw costs


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
    told = Conditions.of(cond, batch, dtype, device)
    for low in range(0, max(batch, 1), size):
        high = min(low + size, batch)
        noise = Noise(seed, torch.arange(first_index + low, first_index + high, device=device), event, dtype)
        rows = slice(low, high)
        yield Part(rows, noise, Bound(denoiser, told.rows(rows), high - low))


def initial(denoiser: Denoiser, t: Tensor, noise: Noise) -> Tensor:
    """x_t from the Gaussian of its mean and variance: draw 0 of each sample's noise."""
    mean, std = denoiser.schedule.prior(t, mean=denoiser.data_mean, std=denoiser.data_std)
    z = noise.normal(0)
    return std * z + (mean.to(z) if isinstance(mean, Tensor) else mean)


def len_of_chunk(shape: Sequence[int], chunk: int | None) -> int:
    """Samples at a time.

    Raises:
        ValueError: for a chunk below 1.
    """
    if chunk is None:
        return max(1, CHUNK_ELEMENTS // max(1, torch.Size(shape[1:]).numel()))
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    return chunk


class Normals:
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
    """The denoiser with its condition bound, counting its calls, and the evaluations of each sample.

    Raises:
        ValueError: in the first call, for a denoiser that does not return the shape of x_t.
    """

    def __init__(self, denoiser: Denoiser, cond: Conditions, batch: int) -> None:
        self.denoiser, self.cond, self.batch = denoiser, cond, batch
        self.calls = self.batch_calls = 0  # all calls, and those with the batch as it is
        self.row_evaluations = torch.zeros(batch, dtype=torch.int64)  # of each sample, in the calls for some rows

    @property
    def evaluations(self) -> Tensor:
        return self.row_evaluations + self.batch_calls

    def __call__(self, x_t: Tensor, t: Tensor, rows: Tensor | None = None) -> Tensor:
        self.calls += 1
        cond = self.cond
        if rows is None:
            self.batch_calls += 1
        else:
            self.row_evaluations += torch.bincount(rows.cpu(), minlength=self.batch)
            cond = cond.rows(rows)
        x0 = self.denoiser(x_t, t, **cond)
        if self.calls == 1 and x0.shape != x_t.shape:
            raise ValueError(f"the denoiser must return the shape of x_t, {tuple(x_t.shape)}; got {tuple(x0.shape)}")
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
        if not start.is_floating_point() or start.ndim < 1:
            raise ValueError(
                f"start must be floating point of shape (B, *event); got {start.dtype}, {tuple(start.shape)}"
            )
        if not bool(torch.isfinite(start).all()):
            raise ValueError("start must be finite; got NaN or infinity")
        return tuple(start.shape), start.dtype, start.device
    shape = tuple(start)
    # the caller's types are a promise, not a fact
    if not shape or any(not isinstance(n, int) or n < 0 for n in shape):  # pyright: ignore[reportUnnecessaryIsInstance]
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
