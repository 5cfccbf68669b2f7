"""A run folder: what training leaves behind, and what it goes on from.

    checkpoints/step-000123/{model,ema,optim}.safetensors, state.json, manifest.json (of an objective with models of
                            other names {generator,generator-ema,critic,optim}.safetensors, say)
    metrics.jsonl           one line a step; null for what was not finite
    dump-step-000123/       what a step saw whose loss was not finite, where nothing helped

Only the first process writes, and never through a link. A run is a function of its seed, so going on from a checkpoint
means: its weights, its optimiser, its step; `metrics.jsonl` is cut back to that step.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import safetensors.torch

from scorefield._caller import warn
from scorefield.storage import checkpoints, files
from scorefield.storage.lock import hold
from scorefield.training import batches, distributed, log
from scorefield.training.arguments import whole
from scorefield.training.loggers import Logger

if TYPE_CHECKING:
    from scorefield.training.engine import Engine
    from scorefield.training.progress import Progress

METRICS = "metrics.jsonl"


class Run:
    """A folder that belongs to one training run.

    Args:
        folder: made if missing; `opened` locks it for as long as the run lasts.
        meta: plain values kept in every checkpoint's files: the recipe's name, the event's shape.
        recipe: the text of what is trained, kept in every checkpoint's state.
        accept: in what the run may differ from the one whose checkpoint it goes on from: "data", "recipe" (all else).
        start_over: set aside what cannot be gone on from, and begin; unless given it is refused.
        checkpoint_every: steps between checkpoints; the last step is saved in any case.
        keep, keep_every: how many checkpoints stay, and of which steps all do (see `checkpoints.prune`).
        sample_every: steps between calls of `on_sample`.
        on_sample: `on_sample(model, step)` with the averaged weights of the objective's first model: draws a grid, say.
        loggers: told the metrics of every step.
        warn: takes a line about a damaged checkpoint that was passed over.

    Raises:
        ValueError: for a number of steps or checkpoints below 1.
        TypeError: for one that is not whole.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        meta: Mapping[str, Any] | None = None,
        recipe: str | None = None,
        accept: Collection[str] = (),
        start_over: bool = False,
        checkpoint_every: SupportsIndex = 1000,
        keep: SupportsIndex = 3,
        keep_every: SupportsIndex | None = None,
        sample_every: SupportsIndex | None = None,
        on_sample: Callable[[Any, int], None] | None = None,
        loggers: Sequence[Logger] = (),
        warn: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.meta, self.warn = Path(folder), dict(meta or {}), warn
        self.recipe, self.accept, self.start_over = recipe, accept, start_over
        self.checkpoint_every, self.keep = _count("checkpoint_every", checkpoint_every), _count("keep", keep)
        self.keep_every = None if keep_every is None else _count("keep_every", keep_every)
        self.sample_every = None if sample_every is None else _count("sample_every", sample_every)
        self.on_sample, self.loggers = on_sample, loggers
        self._metrics: files.Appended | None = None
        self._saved: int | None = None
        self._place: tuple[int, int] | None = None  # which folder it is, whatever it is called

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Run]:
        """Holds the folder against a second run, and closes the logs.

        Raises:
            ValueError: if another process holds it.
            OSError: if what it writes to is a link.
        """
        first = distributed.rank() == 0
        if first:
            self._make()
        with hold(self.folder) if first else contextlib.nullcontext():
            try:
                yield self
            finally:
                if self._metrics:
                    self._metrics.close()
                for logger in self.loggers if first else ():
                    logger.close()

    def restore(self, engine: Engine) -> int:
        """Takes up the newest checkpoint that verifies and returns its step; 0 where there is none.

        Raises:
            ValueError: if it is of another run, or a newer one is of another format; if there was one, and none can
                be used.
        """
        if distributed.rank() == 0:
            self._make()
        found = self._load_last(engine)
        step = found or 0
        if distributed.rank() == 0:
            if found is None:
                self._begin()
            log.cut(self.folder / METRICS, step, self.warn)
        distributed.barrier()
        self._saved = found
        return step

    def check(self, engine: Engine) -> None:
        """Makes what a checkpoint would hold, and leaves it: what cannot be saved is found out before it is trained.

        Raises:
            ValueError: for a model, an objective's state or a meta that cannot be saved.
        """
        self._files(engine, 0)
        engine.state()
        if line := engine.objective.caveat():
            warn(line)

    def take_up_last(self, engine: Engine) -> bool:
        """The weights and optimiser of the newest checkpoint that verifies, if there is one."""
        return self._load_last(engine) is not None

    def _load_last(self, engine: Engine) -> int | None:
        path = checkpoints.latest(self.checkpoints, self.warn) if distributed.rank() == 0 else None
        path = distributed.from_first(path)
        if path is None:
            return None
        state = checkpoints.read_state(path)
        engine.load(path, state, self.accept)
        return state["step"]

    def _make(self) -> None:
        """The folder; in it, what is written to is no link."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.checkpoints, self.folder / METRICS):
            files.refuse_link(path)
        self._place = self._place or _place(self.folder)

    def _begin(self) -> None:
        """Refuses to begin over what a run has left, unless told to; then that is set aside."""
        metrics, damaged = self.folder / METRICS, bool(checkpoints.steps(self.checkpoints))
        steps = max((row["step"] for row in log.read(metrics).rows), default=0)
        if not damaged and steps <= self.checkpoint_every:  # none was saved yet
            return
        if not self.start_over:
            why = "none of its checkpoints is whole" if damaged else f"{self.checkpoints} holds no checkpoint"
            raise ValueError(
                f"{self.folder} was trained for {steps:,} steps, and {why}: bring one back, or begin again with "
                "--start-over, start_over=True, which sets aside what is left"
            )
        for path in (self.checkpoints, metrics):
            if os.path.lexists(path):
                self.warn(f"{path} is kept as {files.aside(path).name}")

    def rows(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, less what cannot be read and a last one that is not whole (yet)."""
        return log.read(self.folder / METRICS).rows

    def after(self, report: Progress, engine: Engine) -> None:
        """After every step: the log, and when their turn comes a checkpoint and samples.

        Raises:
            OSError: if the log cannot be written, or the folder is not there any more.
        """
        if distributed.rank() == 0:
            row = report.row()
            self._log(row)
            for logger in self.loggers:
                logger.log(report.step, {name: value for name, value in row.items() if name != "step"})
        if self.on_sample and self.sample_every and report.step % self.sample_every == 0:
            # in all processes: the weights may be split among them
            self.on_sample(next(iter(engine.models().values())), report.step)
        if report.step % self.checkpoint_every == 0 and not report.skipped:
            self.save(engine, report.step)

    def save(self, engine: Engine, step: int) -> None:
        """A checkpoint of `step` steps done, unless that is what the last one holds.

        Raises:
            OSError: if it cannot be written, or the folder is not there any more: one that was deleted is not made
                anew, without what was in it.
        """
        if self._saved == step:
            return
        contents = self._files(engine, step)
        if distributed.rank() == 0:
            if self._place != _place(self.folder):
                raise OSError(
                    errno.ENOENT, f"was deleted or moved during training, before step {step}", str(self.folder)
                )
            files.subfolder(self.checkpoints)
            recipe = {} if self.recipe is None else {"recipe": self.recipe}
            checkpoints.write(self.checkpoints, step, contents, {"step": step, **recipe, **engine.state()})
            checkpoints.prune(self.checkpoints, self.keep, self.keep_every)
        distributed.barrier()
        self._saved = step

    def dump(self, engine: Engine, step: int) -> Path:
        """Writes what `step` saw, and the weights, for whoever looks into it."""
        folder = self.folder / f"dump-step-{step + 1:06d}"
        contents = engine.files({**self.meta, "step": step})
        if distributed.rank() == 0:
            files.subfolder(folder)
            batch = engine.batch(batches.positions(step, engine.options.batch_size))
            plain = {name: value.detach().cpu().contiguous() for name, value in batch.items()}
            files.replace(folder / "batch.safetensors", safetensors.torch.save(plain))
            for name in (f"{model}.safetensors" for model in engine.models()):
                files.replace(folder / name, contents[name])
        return folder

    def _files(self, engine: Engine, step: int) -> dict[str, bytes]:
        return engine.files({**self.meta, "step": step, "steps": engine.options.steps})

    def _log(self, row: Mapping[str, float]) -> None:
        """Adds a line, whole as soon as this returns."""
        if self._metrics is None:
            self._metrics = files.Appended(self.folder / METRICS)
        self._metrics.write(log.line(row))


def _place(folder: Path) -> tuple[int, int] | None:
    """Which folder stands there."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _count(name: str, value: Any) -> int:
    count = whole(name, value)
    if count < 1:
        raise ValueError(f"{name} must be at least 1; got {count}")
    return count
