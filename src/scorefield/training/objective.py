"""What is trained: a module of everything that learns, and what a step of it is.

A step takes the samples at the next positions of the run through one or several turns,

    for each turn:    gradient of mean_i loss_i with respect to the turn's own weights,    its optimisers move these,

in order: a later turn sees what an earlier one has moved. A denoiser, a flow map or an autoencoder has one turn; a
generator and its critic have two. `training.engine` runs the turns, and needs of an objective what stands here.

An objective keeps the promise that a run is a function of its seed by drawing all it draws from the `Stream` it is
handed, which is keyed by the samples' positions; what else it remembers from step to step is a weight, a buffer, or
in `state`. Its losses are `(B,)`, and no sample's depends on the rest of the batch: so pieces of a batch, and several
processes, add up to the whole.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scorefield import losses
from scorefield.conditions import Conditions, for_each
from scorefield.data import Source, Transform
from scorefield.denoisers import NetworkDenoiser, NoiseConditional
from scorefield.denoisers.base import Unstated
from scorefield.guidance import NetworkClassifier
from scorefield.losses import TimeLaw, Uniform
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, Stream
from scorefield.storage import models, weights
from scorefield.storage.compiled import uncompiled
from scorefield.storage.sharded import class_of
from scorefield.training import arguments
from scorefield.training.given import takes_labels
from scorefield.training.levels import LossByLevel
from scorefield.training.optimizers import Optimizer
from scorefield.training.record import described

Augment = Callable[[Tensor, Randomness], Tensor]
Curve = list[tuple[float, float]]

MEASURED = 2**24  # numbers looked at for statistics, 64 MB in float32: fewer data where each is large


@dataclass(frozen=True)
class Turn:
    """A loss within a step, and what it moves.

    Args:
        name: what `forward` is told, and the log calls it.
        moves: submodules of the objective whose weights it moves, by name; "" is the objective itself. Every weight
            belongs to one turn.
        optimizer: `Options.optimizer` unless given.
        lr_ratio: of its learning rate to `Options.lr`.
        every: it runs in each `every`-th step; the first turn in all of them.

    Raises:
        ValueError: for an lr_ratio that is not positive, or an `every` below 1.
    """

    name: str = ""
    moves: tuple[str, ...] = ("",)
    optimizer: Optimizer | None = None
    lr_ratio: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        if not (self.lr_ratio > 0 and self.every >= 1):
            raise ValueError(f"lr_ratio must be positive and every at least 1; got {self.lr_ratio} and {self.every}")


class Now(NamedTuple):
    """When a loss is asked for."""

    turn: str
    step: int  # 0 .. steps - 1
    steps: int


class Objective(nn.Module, abc.ABC):
    """Everything that is trained, and how. `models` and `forward` are yours; the rest has defaults.

    Attributes:
        turns: of a step, in order.
        advice: what to try when the loss is not finite, for the line that says so.
    """

    turns: tuple[Turn, ...] = (Turn(),)
    advice: str = "lower lr"

    # What learns

    @abc.abstractmethod
    def models(self) -> dict[str, nn.Module]:
        """What is trained to be used, by the names of its files, the most important first: `model`, or a `generator`.

        Other weights of the objective (of a loss, say) are kept beside the optimisers.
        """

    def averaged(self) -> Collection[str]:
        """Names of the models whose weights are averaged along training."""
        return tuple(self.models())

    def frozen(self) -> Sequence[nn.Module]:
        """What is used but not trained, a teacher: in eval mode, without gradients, and not in checkpoints."""
        return ()

    def network(self, model: nn.Module) -> nn.Module:
        """The part of a model that is called and has the weights: it is compiled, sharded, saved. The whole of it."""
        return model

    def saved(self, model: nn.Module) -> nn.Module:
        """What `loads` gives the weights of: all of a model that its file holds. `network(model)`."""
        return self.network(model)

    # What a step is

    def check(self, source: Source) -> None:
        """Refuses data that this can't be trained on, with a ValueError of one line."""

    def batch(self, raw: Tensor, cond: Mapping[str, Tensor], draws: Stream) -> dict[str, Tensor]:
        """What `forward` gets of some raw data and their conditions, each `(B, ...)`, where it is needed.

        As they are, unless this is replaced: the data as `x0`, on `device`, and what is not whole numbers in `dtype`.
        """
        x0 = raw.to(self.device, self.dtype if raw.is_floating_point() else None)
        told = Conditions.of(cond, len(raw), self.dtype, self.device, what="data")
        return {"x0": x0, **{name: for_each(name, value, x0) for name, value in told.items()}}

    @abc.abstractmethod
    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        """The turn's `loss`, `(B,)`: its mean is what the turn makes smaller. Anything else named is only logged."""

    def updated(self, steps: int) -> None:
        """Called when all turns of a step have moved their weights, `steps` being done: for a teacher that follows."""

    # What is kept, and shown

    def dumps(self, name: str, model: nn.Module, meta: Mapping[str, Any]) -> bytes:
        """The file of a model, or of its average: safetensors."""
        return weights.dumps(
            self.network(model), {"model": class_of(uncompiled(model)).__name__, "name": name, "meta": dict(meta)}
        )

    def caveat(self) -> str:
        """A line on what its files will lack, said before it is trained; empty if they are whole."""
        return ""

    def loads(self, name: str, path: Path) -> dict[str, Tensor]:
        """The weights of `saved(model)` in a file that `dumps` made, by the names of what is not compiled."""
        return weights.load(path).tensors

    def state(self) -> dict[str, Any]:
        """Plain values that are kept beside the weights; those of the first process, where there are several."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned."""

    def record(self) -> dict[str, Any]:
        """What a run with this is a function of, by name, as plain values: it goes on from checkpoints of the same.

        Its class, with the arguments of the constructor that it keeps, and its turns, unless this is replaced.
        """
        return {"objective": described(self), "turns": described(self.turns)}

    def curves(self) -> dict[str, Curve]:
        """What a report draws besides the loss: points (x, y) by name."""
        return {}

    def note(self) -> str:
        """What a progress bar says after the loss."""
        return ""

    @property
    def dtype(self) -> torch.dtype:
        """Of the first weight that is a floating-point number."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> Objective:
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self


@dataclass(frozen=True)
class _Draws:
    """How a raw batch becomes (x0, t, cond); apart from the objective, since a transform may have weights: not ours."""

    times: TimeLaw
    transform: Transform | None
    augment: Augment | None
    condition_dropout: float


class DenoisingObjective(Objective):
    """A denoiser, or a classifier of noisy data, and any of `losses`; its batch is x0, t and the conditions.

    Args:
        denoiser: what is trained.
        loss: called as `loss(denoiser, x0, t=..., generator=..., cond=..., weight=...)`, `(B,)`; where it is a module,
            its weights are trained too.
        times: the law of t; Uniform() unless given.
        weight: of the loss at each t.
        transform: raw data to the model's units; it is kept in checkpoints.
        augment: `augment(x0, generator)`, in the model's units.
        condition_dropout: the share of samples whose conditions are made null, for guidance.

    Raises:
        ValueError: for a share outside [0, 1], or a loss that was given `times`, `t` or `weight` itself.
        TypeError: for a part that is none, or is called otherwise.
    """

    advice = "lower lr, or keep t away from 0 and 1"

    def __init__(
        self,
        denoiser: NoiseConditional,
        loss: Callable[..., Tensor] = losses.denoising,
        *,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        transform: Transform | None = None,
        augment: Augment | None = None,
        condition_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if isinstance(uncompiled(denoiser), NoiseConditional) and uncompiled(denoiser) is not denoiser:
            raise TypeError("denoiser must not be compiled but its network: denoiser.net = torch.compile(denoiser.net)")
        if not isinstance(denoiser, NoiseConditional):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                "denoiser must be a NetworkDenoiser(net, schedule, parameterization), a NetworkClassifier or an "
                f"Objective; got {arguments.shown(denoiser)}"
            )
        if isinstance(denoiser, NetworkClassifier) and loss is losses.denoising:
            raise ValueError("loss must be losses.classification for a NetworkClassifier; got denoising")
        arguments.check("denoiser.net", denoiser.net)
        arguments.check("loss", loss, () if weight is None else ("weight",))
        for name, part in (("times", times), ("weight", weight), ("transform", transform), ("augment", augment)):
            if part is not None:
                arguments.check(name, part)
        condition_dropout = arguments.number("condition_dropout", condition_dropout)
        if not 0 <= condition_dropout <= 1:
            raise ValueError(f"condition_dropout must lie in [0, 1]; got {condition_dropout}")
        if {"t", "times", "weight"} & set(getattr(loss, "keywords", {})):
            raise ValueError("give times and weight to fit itself, not to the loss")
        self.denoiser, self.loss = denoiser, loss
        self._draws = _Draws(times or Uniform(), transform, augment, condition_dropout)
        self._options = {} if weight is None else {"weight": weight}
        self.levels = LossByLevel()

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.denoiser}

    def network(self, model: Any) -> nn.Module:
        return uncompiled(model.net)

    def saved(self, model: Any) -> nn.Module:
        """The network, and a schedule or a parameterisation that learns."""
        return nn.ModuleDict(models.modules(model))

    def check(self, source: Source) -> None:
        """Refuses labels that the network does not take, and measures the statistics of the data that nobody gave.

        Raises:
            ValueError: if it has no place for them, cannot do without them where they are dropped, or has too few.
        """
        how = self._draws
        if source.levels is not None and how.transform is None and how.augment is None:
            raise ValueError(
                f"data of {source.levels} levels need a transform to the model's units, "
                "transform=data.Scale.to_unit_range(data)"
            )
        self._measure(source)
        if source.num_classes is None:
            return
        net = self.network(self.denoiser)
        conditions = getattr(net, "conditions", ())
        told = isinstance(self.denoiser, NetworkDenoiser)  # a classifier is asked, not told
        if told and (not takes_labels(net) or (how.condition_dropout and "label" not in conditions)):
            raise ValueError(
                "labels need a network that takes them, with 'label' in its `conditions`; "
                f"{type(net).__name__} takes {', '.join(conditions) or 'none'}"
            )
        classes = getattr(net, "num_classes", None)
        if classes is not None and source.num_classes > classes:
            raise ValueError(f"labels must lie in 0..{classes - 1}; got 0..{source.num_classes - 1}")

    def _measure(self, source: Source) -> None:
        """Of up to 4,096 data spread over the source: one standard deviation about the mean, which is each entry's in
        vectors and one for all in pictures and series, whose size is not the model's."""
        model = self.denoiser
        if not isinstance(model.data_std, Unstated):
            return
        count = max(64, min(4096, MEASURED // max(1, math.prod(source.event_shape))))
        rows = (
            torch.linspace(0, len(source) - 1, min(count, len(source)), dtype=torch.float64, device="cpu")
            .round()
            .long()
        )
        raw = source.batch(rows).x
        x = (self._draws.transform(raw) if self._draws.transform else raw).double()
        mean = x.mean(0) if x.ndim == 2 else x.mean()
        std = float((x - mean).square().mean().sqrt())
        if 0 < std < math.inf:
            model.data_std = std
            if isinstance(model.data_mean, Unstated):
                model.data_mean = mean.float() if mean.ndim else float(mean)

    def batch(self, raw: Tensor, cond: Mapping[str, Tensor], draws: Stream) -> dict[str, Tensor]:
        """x0, the conditions, `null` among them, and t, float64 on the CPU as all arithmetic of schedules."""
        how = self._draws
        x0 = how.transform.dequantize(raw, draws) if how.transform else raw
        x0 = how.augment(x0, draws) if how.augment else x0
        if not (isinstance(x0, Tensor) and x0.shape[:1] == raw.shape[:1]):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"augment must return a tensor of {len(raw)} samples; got {arguments.shown(x0)}")
        t = how.times.sample(len(raw), draws)
        if cond and how.condition_dropout:
            cond = {**cond, "null": draws.uniform() < how.condition_dropout}
        return {**super().batch(x0, cond, draws), "t": t}

    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        cond = {name: value for name, value in batch.items() if name not in ("x0", "t")}
        x0, t = batch["x0"], batch["t"]
        values = self.loss(self.denoiser, x0, t=t, generator=draws, cond=cond, **self._options)
        values = arguments.per_sample(values, len(x0))
        self.levels.update(-self.denoiser.schedule.log_snr(t), values.detach().cpu())
        return {"loss": values}

    def dumps(self, name: str, model: Any, meta: Mapping[str, Any]) -> bytes:
        """What `storage.load` reads."""
        return models.dumps(model, meta, transform=self._draws.transform)

    def caveat(self) -> str:
        missing = models.left_out(self.denoiser, self._draws.transform)
        return models.reminder(missing) if missing else ""

    def loads(self, name: str, path: Path) -> dict[str, Tensor]:
        return models.load_tensors(path, tuple(models.modules(self.denoiser)))

    def state(self) -> dict[str, Any]:
        return {"levels": self.levels.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.levels.load_state(state["levels"])

    def record(self) -> dict[str, Any]:
        denoiser, how = self.denoiser, self._draws
        named, measured = ("schedule", "parameterization", "level"), ("data_std", "data_mean")
        return {
            "model": type(denoiser).__name__,
            "net": described(self.network(denoiser)),
            **{name: described(getattr(denoiser, name)) for name in named},
            "loss": described(self.loss),
            "weight": described(self._options.get("weight")),
            **{f.name: described(getattr(how, f.name)) for f in fields(how)},
            # last: where data or transform are others, these are as well
            **{name: described(getattr(denoiser, name)) for name in measured},
        }

    def curves(self) -> dict[str, Curve]:
        """`levels`: the latest mean loss against sigma / alpha."""
        return {"levels": self.levels.table()}

    def note(self) -> str:
        """The loss in the lower, middle and upper third of the noise levels seen."""
        table = self.levels.table()
        cut = [table[i * len(table) // 3 : (i + 1) * len(table) // 3] for i in range(3)]
        means = [sum(loss for _, loss in part) / len(part) if part else math.nan for part in cut]
        return " (low {:.3f}, middle {:.3f}, high {:.3f} noise)".format(*means)
