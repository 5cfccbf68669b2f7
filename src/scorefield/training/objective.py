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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scorefield.conditions import Conditions, for_each
from scorefield.data import Source
from scorefield.randomness import Stream
from scorefield.storage import weights
from scorefield.storage.compiled import uncompiled
from scorefield.storage.sharded import class_of
from scorefield.training.optimizers import Optimizer
from scorefield.training.record import described

Curve = list[tuple[float, float]]


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
