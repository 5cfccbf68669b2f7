"""`fit`: from data to what was learned of them, with or without a run folder that makes it survive."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scorefield import losses
from scorefield.catalogue import nearest
from scorefield.data import Source, Transform
from scorefield.denoisers import NetworkDenoiser, NoiseConditional
from scorefield.losses import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.training import distributed
from scorefield.training.arguments import check, flag
from scorefield.training.engine import Engine, Outcome
from scorefield.training.given import batch_size_of, source_of
from scorefield.training.objective import Augment, Curve, DenoisingObjective, Objective
from scorefield.training.options import Options
from scorefield.training.progress import History, Progress, bar
from scorefield.training.run import Run

#: What other libraries' trainers take, and what there is here instead.
ELSEWHERE = {
    "device": "It trains where the weights are: denoiser.to('cuda').",
    "epochs": "Give steps: epochs x len(data) / batch_size.",
    "ema": "Did you mean 'ema_decay'?",
    "learning_rate": "Did you mean 'lr'?",
}

M = TypeVar("M", bound=nn.Module)
D = TypeVar("D", bound=NoiseConditional)
Data = Tensor | np.ndarray | Source | Dataset[Any] | DataLoader[Any]
Labels = Tensor | np.ndarray | Sequence[int] | int


class Fit(NamedTuple, Generic[M]):
    """What `fit` returns."""

    model: M  # a copy with the averaged weights, in eval mode; of several models the first
    history: History
    interrupted: bool = False  # by a signal, before its last step
    models: dict[str, nn.Module] = {}  # noqa: RUF012  by name, averaged where the objective has them averaged
    curves: dict[str, Curve] = {}  # noqa: RUF012  what the objective has to show, points (x, y) by name

    @property
    def denoiser(self) -> M:
        """The model, by the name it has where a denoiser was given."""
        return self.model

    @property
    def levels(self) -> Curve:
        """(sigma / alpha, mean loss) of a denoiser, the latest at each noise level."""
        return self.curves.get("levels", [])


@overload
def fit(
    denoiser: D,
    data: Data,
    *,
    labels: Labels | None = None,
    loss: Callable[..., Tensor] = losses.denoising,
    times: TimeLaw | None = None,
    weight: Weight | None = None,
    transform: Transform | None = None,
    augment: Augment | None = None,
    condition_dropout: float = 0.1,
    run: Run | None = None,
    progress: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Fit[D]: ...


@overload
def fit(
    denoiser: Objective,
    data: Data,
    *,
    labels: Labels | None = None,
    run: Run | None = None,
    progress: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Fit[nn.Module]: ...


def fit(
    denoiser: NoiseConditional | Objective,
    data: Data,
    *,
    labels: Labels | None = None,
    loss: Callable[..., Tensor] = losses.denoising,
    times: TimeLaw | None = None,
    weight: Weight | None = None,
    transform: Transform | None = None,
    augment: Augment | None = None,
    condition_dropout: float = 0.1,
    run: Run | None = None,
    progress: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Fit[Any]:
    """Trains `denoiser`, or an `Objective`, in place and returns a copy with the averaged weights.

    SIGINT (Ctrl-C) or SIGTERM finishes the step, saves, and returns what is trained so far, marked `interrupted`; a
    second one leaves at once.

    Args:
        denoiser: trained in place; left with its last, not averaged, weights. A NetworkClassifier is trained with
            `losses.classification`. An Objective brings its losses: `loss` to `condition_dropout` do not go with one.
        data: a Source, a tensor or array `(N, *event)`, or torch's: a Dataset of arrays, pairs (array, label) or
            mappings, by row, whose labels a network that takes none goes without; or the dataset of a DataLoader,
            in batches of its size, shuffled by `seed`. Cast to the dtype of the network's weights.
        labels: `(N,)` integers beside a tensor or array, or one for all, passed to the network as `label`.
        loss: any of `losses`, called as `loss(denoiser, x0, t=..., generator=..., cond=..., weight=...)`, `(B,)`.
        times: the law of t; Uniform() unless given.
        weight: of the loss at each t.
        transform: raw data to the model's units, e.g. data.Scale; it is kept in checkpoints.
        augment: `augment(x0, generator)`, applied to each batch in the model's units.
        condition_dropout: the share of samples whose conditions are made null, for guidance.
        run: a folder with checkpoints and logs; training goes on from its last checkpoint.
        progress: show a bar.
        on_step: called after every step.
        options: the fields of `Options`: steps, batch_size, lr, ...

    Raises:
        ValueError: for empty data or data of another size than the network's, labels of another length, a network that
            cannot drop its labels, an objective that is given a loss, a checkpoint of another run, or a model that
            could not be saved.
        TypeError: for data of another kind, a number that is none, or a part that is none or is called otherwise.
        FloatingPointError: when the loss or the gradient is not finite and neither passing over the step nor taking up
            the last checkpoint helped.
    """
    how = {"loss": loss, "times": times, "weight": weight, "transform": transform, "augment": augment}
    objective = _objective(denoiser, {**how, "condition_dropout": condition_dropout})
    if strange := [name for name in options if name not in Options.__dataclass_fields__]:
        instead = ELSEWHERE.get(strange[0]) or nearest(strange[0], [*Options.__dataclass_fields__, *how])
        raise TypeError(f"fit takes no {strange[0]!r}. {instead}")
    if "steps" not in options:
        raise TypeError("fit needs steps, the number of updates of the weights: fit(..., steps=1000)")
    for name, part in (("run", run), ("on_step", on_step)):
        if part is not None:
            check(name, part)
    progress = flag("progress", progress)
    told = denoiser.net if isinstance(denoiser, NetworkDenoiser) else None
    dtype = torch.float64 if objective.dtype == torch.float64 else torch.float32
    source = source_of(data, labels, told=told, dtype=dtype)
    engine = Engine(objective, source, Options(**{**batch_size_of(data), **options}))
    history, steps, bad, rollbacks, stop = History(), engine.options.steps, 0, 0, False
    first = done = run.restore(engine) if run else 0
    if run and first < steps:
        run.check(engine)
    for row in run.rows() if run else ():
        history.append(row)
    start = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
    with _interruptible() as stopped, _own_random_state(engine.options.seed), bar(progress, first, engine) as show:
        for step in range(first, steps):
            outcome = engine.step(step, stop=stopped())
            bad = 0 if outcome.finite else bad + 1
            report = Progress(
                step + 1, steps, outcome.loss, outcome.lr, outcome.gradient_norm,
                time.perf_counter() - start, not outcome.finite, outcome.values,
            )  # fmt: skip
            done = step + 1
            history.append(report.row())
            show(report)
            if on_step:
                on_step(report)
            if run:
                run.after(report, engine)
            if bad > engine.options.patience:
                if not (run and rollbacks < engine.options.rollbacks and run.take_up_last(engine)):
                    dump = run.dump(engine, step) if run else None
                    raise FloatingPointError(_trouble(outcome, step, bad, objective.advice, dump))
                bad, rollbacks = 0, rollbacks + 1
            # several processes must leave after the same step: what one was told they learn in the next
            if stop := (stopped() if distributed.size() == 1 else outcome.stop):
                break
    if run and done:
        run.save(engine, done)
    objective.eval()
    models = engine.models()
    return Fit(next(iter(models.values())), history, stop and done < steps, models, objective.curves())


def _objective(given: NoiseConditional | Objective, how: dict[str, Any]) -> Objective:
    if not isinstance(given, Objective):
        return DenoisingObjective(given, **how)
    usual = {"loss": losses.denoising, "condition_dropout": 0.1}
    if strange := [name for name, value in how.items() if value != usual.get(name)]:
        raise ValueError(f"{strange[0]} goes with a denoiser; {type(given).__name__} brings what it needs itself")
    return given


def _trouble(outcome: Outcome, step: int, bad: int, advice: str, dump: Any) -> str:
    kept = f" What it saw is in {dump}." if dump else ""
    return f"{outcome.trouble} at step {step + 1}, {bad} in a row; {advice}.{kept}"


@contextlib.contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    """For networks that draw from torch's global generator: repeatable, and the caller's state is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into an answer to `stopped()`; the second does what it always did."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield flag.is_set
        return
    previous = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def first(_signal: int, _frame: FrameType | None) -> None:
        flag.set()
        restore()

    for number in previous:
        signal.signal(number, first)
    try:
        yield flag.is_set
    finally:
        restore()
