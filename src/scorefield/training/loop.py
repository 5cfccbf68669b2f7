"""The training loop.

Data order, noise, label dropout and the network's own dropout are functions of (seed, step): two runs with the same
seed and the same initial weights give the same weights, to the bit on a CPU.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import losses
from scorefield.denoisers import NetworkDenoiser
from scorefield.training.ema import EMA

Augment = Callable[[Tensor, torch.Generator], Tensor]


class Progress(NamedTuple):
    """What a step reports."""

    step: int  # done so far, 1 .. steps
    steps: int
    loss: float  # of this batch
    lr: float
    gradient_norm: float  # before clipping
    seconds: float  # since the start


@dataclass
class History:
    """One entry a step."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def append(self, p: Progress) -> None:
        for name in ("step", "loss", "lr", "gradient_norm", "seconds"):
            getattr(self, name).append(getattr(p, name))


class Fit(NamedTuple):
    """What `fit` returns."""

    denoiser: NetworkDenoiser  # a copy with the averaged weights, in eval mode
    history: History
    interrupted: bool = False  # by Ctrl-C: trained for len(history.step) steps


def cosine(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor: linear from 0 over `warmup` steps, then a half cosine to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def constant(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor: linear from 0 over `warmup` steps, then 1."""
    return min(1.0, (step + 1) / max(1, warmup))


def fit(
    denoiser: NetworkDenoiser,
    data: Tensor,
    *,
    labels: Tensor | None = None,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
    warmup: int = 100,
    lr_schedule: Callable[[int, int, int], float] = cosine,
    ema_decay: float = 0.999,
    label_dropout: float = 0.1,
    clip: float = 1.0,
    loss: Callable[..., Tensor] = losses.denoising,
    augment: Augment | None = None,
    seed: int = 0,
    progress: bool = False,
    on_step: Callable[[Progress], None] | None = None,
) -> Fit:
    """Trains `denoiser` in place and returns a copy with the averaged weights.

    Ctrl-C finishes the step and returns what is trained so far, marked `interrupted`; a second one leaves at once.

    Args:
        denoiser: trained in place; left with its last, not averaged, weights.
        data: `(N, *event)`, any dtype that `augment` turns into the model's.
        labels: `(N,)` int64, passed to the network as `label`.
        steps, batch_size: each epoch is a fresh permutation of the data.
        lr, weight_decay, betas, warmup: of AdamW; `lr_schedule(step, steps, warmup)` multiplies `lr`.
        ema_decay: of the averaged weights, ramped up from the start; 0 keeps the last weights.
        label_dropout: the share of samples marked `null`, whose label becomes the null one, for guidance.
        clip: largest gradient norm.
        loss: called as `loss(denoiser, x0, generator=..., cond=...)`, `(B,)`; bind a time law or a weight with
            `functools.partial(losses.denoising, times=...)`.
        augment: `augment(batch, generator)`, applied to each batch before the loss: dequantisation, scaling, flips.
        seed: of the data order and all noise.
        progress: show a bar.
        on_step: called after every step.

    Raises:
        ValueError: for empty data, labels of another length, or a network that cannot drop its labels.
        FloatingPointError: when the loss or the gradient is not finite, naming the step, before it touches a weight.
    """
    _check(denoiser, data, labels, steps, batch_size, label_dropout)
    device = next(denoiser.parameters()).device
    weights = [p for p in denoiser.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    ema, history, start = EMA(denoiser, ema_decay), History(), time.perf_counter()
    denoiser.train()
    with _interruptible() as stopped, _own_random_state(), _bar(progress, steps) as show:
        for step in range(steps):
            generator = torch.Generator().manual_seed(_seed(seed, step))
            torch.manual_seed(_seed(seed, step, 1))  # for dropout in the network
            rows = _rows(len(data), batch_size, seed, step)
            x0, cond = data[rows], {}
            x0 = (augment(x0, generator) if augment else x0).to(device)
            if labels is not None:
                cond["label"] = labels[rows].to(device)
                if label_dropout:
                    cond["null"] = (torch.rand(len(rows), generator=generator) < label_dropout).to(device)
            value = loss(denoiser, x0, generator=generator, cond=cond).mean()
            optimizer.zero_grad()
            value.backward()
            norm = torch.nn.utils.clip_grad_norm_(weights, clip)
            _check_finite(step, value, norm)
            now = lr * lr_schedule(step, steps, warmup)
            for group in optimizer.param_groups:
                group["lr"] = now
            optimizer.step()
            ema.update()
            report = Progress(step + 1, steps, float(value.detach()), now, float(norm), time.perf_counter() - start)
            history.append(report)
            show(report)
            if on_step:
                on_step(report)
            if stopped():
                break
    denoiser.eval()
    return Fit(ema.module, history, stopped())


def _check(
    denoiser: NetworkDenoiser, data: Tensor, labels: Tensor | None, steps: int, batch_size: int, label_dropout: float
) -> None:
    if len(data) < 1 or steps < 1 or batch_size < 1:
        raise ValueError(
            f"data, steps and batch_size must not be empty or zero; got {len(data)} samples, {steps} and {batch_size}"
        )
    if labels is None:
        return
    if labels.shape != data.shape[:1]:
        raise ValueError(f"labels must have shape ({len(data)},), one for each datum; got {tuple(labels.shape)}")
    if label_dropout and "label" not in getattr(denoiser.net, "conditions", ()):
        raise ValueError("label_dropout needs a network with 'label' in its `conditions`; set it to 0 for this one")
    classes = getattr(denoiser.net, "num_classes", None)
    if classes is not None and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}; got {int(labels.min())}..{int(labels.max())}")


def _check_finite(step: int, loss: Tensor, norm: Tensor) -> None:
    for name, value in (("loss", float(loss.detach())), ("gradient norm", float(norm))):
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {step + 1}; lower lr, or keep t away from 0 and 1")


def _seed(*key: int) -> int:
    """A well-mixed seed from several integers; a torch.Generator on the CPU uses 32 bits of it."""
    return int(np.random.SeedSequence([k % 2**64 for k in key]).generate_state(1)[0])


def _rows(n: int, batch_size: int, seed: int, step: int) -> Tensor:
    """The data of one step: positions step * batch_size ... of an endless sequence of permutations."""
    position, rows = step * batch_size, []
    while position < (step + 1) * batch_size:
        epoch, first = divmod(position, n)
        last = min(n, first + (step + 1) * batch_size - position)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(_seed(seed, epoch, 2)))
        rows.append(order[first:last])
        position += last - first
    return torch.cat(rows)


@contextlib.contextmanager
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into an answer to `stopped()`; the second is a KeyboardInterrupt as ever."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield flag.is_set
        return

    def first(_signal: int, _frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, first) or signal.SIG_DFL  # None: a handler set outside Python
    try:
        yield flag.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def _bar(show: bool, steps: int) -> Iterator[Callable[[Progress], None]]:
    if not show:
        yield lambda p: None
        return
    from rich import progress as rich

    columns = (rich.TextColumn("training"), rich.BarColumn(), rich.TextColumn("loss {task.fields[loss]:.4f}"))
    with rich.Progress(*columns, rich.TimeRemainingColumn(), transient=True) as bar:
        task, average = bar.add_task("", total=steps, loss=math.nan), 0.0

        def advance(p: Progress) -> None:
            nonlocal average
            average += (p.loss - average) / min(p.step, 100)
            bar.update(task, completed=p.step, loss=average)

        yield advance
