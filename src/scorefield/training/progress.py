"""What a training loop says of itself: each step, all of them, and a bar."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from scorefield.training import distributed

if TYPE_CHECKING:
    from scorefield.training.engine import Engine

COLUMNS = ("step", "loss", "lr", "gradient_norm", "seconds")


class Progress(NamedTuple):
    """What a step reports."""

    step: int  # done so far, 1 .. steps
    steps: int
    loss: float  # of this batch, in the first turn
    lr: float
    gradient_norm: float  # before clipping, in the first turn
    seconds: float  # of training, this run's earlier parts included
    skipped: bool = False  # loss or gradient was not finite: no weight was touched
    values: Mapping[str, float] = MappingProxyType({})  # what else the objective names

    def row(self) -> dict[str, float]:
        """A line of the log."""
        return {**{name: getattr(self, name) for name in COLUMNS}, **self.values}


@dataclass
class History:
    """One entry a step."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)  # what else the objective names; NaN where it did not

    def append(self, row: Mapping[str, Any]) -> None:
        for name in COLUMNS:
            getattr(self, name).append(row[name])
        for name in [name for name in {**self.values, **row} if name not in COLUMNS]:
            before = [math.nan] * (len(self.step) - 1)
            self.values.setdefault(name, before).append(row.get(name, math.nan))


@contextlib.contextmanager
def bar(show: bool, first: int, engine: Engine) -> Iterator[Callable[[Progress], None]]:
    """Loss, the objective's note on it, samples a second, time left."""
    if not show or distributed.rank():
        yield lambda p: None
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("training"), rich.BarColumn(), rich.TextColumn("{task.completed}/{task.total}"),
        rich.TextColumn("loss {task.fields[loss]:.4f}{task.fields[note]}  {task.fields[rate]:.0f} samples/s"),
        rich.TimeRemainingColumn(),
    )  # fmt: skip
    with rich.Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=engine.options.steps, completed=first, loss=math.nan, note="", rate=math.nan)
        average, began, done, note = 0.0, time.perf_counter(), 0, ""

        def advance(p: Progress) -> None:
            nonlocal average, done, note
            done += 1
            average += (p.loss - average) / min(done, 100)
            rate = done * engine.options.batch_size / (time.perf_counter() - began)
            note = engine.objective.note() if done % 20 == 0 else note
            bar.update(task, completed=p.step, loss=average, rate=rate, note=note)

        yield advance
