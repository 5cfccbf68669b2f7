"""What a training loop says of itself: each step, all of them, and a bar."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scorefield.training import distributed

if TYPE_CHECKING:
    from scorefield.training.engine import Engine


class Progress(NamedTuple):
    """What a step reports."""

    step: int  # done so far, 1 .. steps
    steps: int
    loss: float  # of this batch
    lr: float
    gradient_norm: float  # before clipping
    seconds: float  # of training, this run's earlier parts included
    skipped: bool = False  # loss or gradient was not finite: no weight was touched


@dataclass
class History:
    """One entry a step."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def append(self, **row: Any) -> None:
        for name in ("step", "loss", "lr", "gradient_norm", "seconds"):
            getattr(self, name).append(row[name])


@contextlib.contextmanager
def bar(show: bool, first: int, engine: Engine) -> Iterator[Callable[[Progress], None]]:
    """Loss, loss at low, middle and high noise, samples a second, time left."""
    if not show or distributed.rank():
        yield lambda p: None
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("training"), rich.BarColumn(), rich.TextColumn("{task.completed}/{task.total}"),
        rich.TextColumn("loss {task.fields[loss]:.4f}{task.fields[levels]}  {task.fields[rate]:.0f} samples/s"),
        rich.TimeRemainingColumn(),
    )  # fmt: skip
    with rich.Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=engine.options.steps, completed=first, loss=math.nan, levels="", rate=math.nan)
        average, began, done, levels = 0.0, time.perf_counter(), 0, ""

        def advance(p: Progress) -> None:
            nonlocal average, done, levels
            done += 1
            average += (p.loss - average) / min(done, 100)
            rate = done * engine.options.batch_size / (time.perf_counter() - began)
            levels = _thirds(engine.levels.table()) if done % 20 == 0 else levels
            bar.update(task, completed=p.step, loss=average, rate=rate, levels=levels)

        yield advance


def _thirds(table: list[tuple[float, float]]) -> str:
    """The loss in the lower, middle and upper third of the noise levels seen, as the bar shows it."""
    cut = [table[i * len(table) // 3 : (i + 1) * len(table) // 3] for i in range(3)]
    means = [sum(loss for _, loss in part) / len(part) if part else math.nan for part in cut]
    return " (low {:.3f}, middle {:.3f}, high {:.3f} noise)".format(*means)
