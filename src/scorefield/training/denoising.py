"""The objective of a denoiser, a flow, a flow map or a classifier of noisy data: one loss on noised data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from scorefield import losses
from scorefield.data import Source, Transform
from scorefield.denoisers import Flow, NetworkDenoiser, NoiseConditional
from scorefield.denoisers.base import Unstated
from scorefield.guidance import NetworkClassifier
from scorefield.losses import Coupling, TimeLaw, Uniform
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, Stream
from scorefield.storage import models
from scorefield.storage.compiled import uncompiled
from scorefield.training import arguments
from scorefield.training.given import takes_labels
from scorefield.training.levels import LossByLevel
from scorefield.training.objective import Curve, Now, Objective
from scorefield.training.pairs import Pairs
from scorefield.training.record import described

Augment = Callable[[Tensor, Randomness], Tensor]
Loss = Callable[..., Tensor | dict[str, Tensor]]

MEASURED = 2**24  # numbers looked at for statistics, 64 MB in float32: fewer data where each is large


@dataclass(frozen=True)
class _Draws:
    """How a raw batch becomes (x0, t, cond); apart from the objective, since a transform may have weights: not ours."""

    times: TimeLaw
    transform: Transform | None
    augment: Augment | None
    condition_dropout: float
    coupling: Coupling | None

    def prepare(self, raw: Tensor, draws: Randomness) -> Tensor:
        """Raw data in the model's units, augmented."""
        x0 = self.transform.dequantize(raw, draws) if self.transform else raw
        x0 = self.augment(x0, draws) if self.augment else x0
        if not (isinstance(x0, Tensor) and x0.shape[:1] == raw.shape[:1]):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"augment must return a tensor of {len(raw)} samples; got {arguments.shown(x0)}")
        return x0


class DenoisingObjective(Objective):
    """A denoiser, or a classifier of noisy data, and any of `losses`; its batch is x0, t and the conditions.

    Args:
        denoiser: what is trained.
        loss: called as `loss(denoiser, x0, t=..., generator=..., cond=..., weight=...)`, `(B,)`, or a dict of such with
            the "loss" and what is logged beside it: a "reference" is what is comparable from step to step. Where it is
            a module, its weights are trained too; a `teacher` among the keywords of a partial is frozen.
        times: the law of t; Uniform() unless given.
        weight: of the loss at each t.
        transform: raw data to the model's units; it is kept in checkpoints.
        augment: `augment(x0, generator)`, in the model's units.
        condition_dropout: the share of samples whose conditions are made null, for guidance.
        coupling: how a `Flow`'s data are paired with draws of its origin, in pools: see `losses.couplings`.

    Raises:
        ValueError: for a share outside [0, 1], a loss that was given `times`, `t` or `weight` itself, or a coupling of
            what is no Flow, whose field would be taken for a score.
        TypeError: for a part that is none, or is called otherwise.
    """

    advice = "lower lr, or keep t away from 0 and 1"

    def __init__(
        self,
        denoiser: NoiseConditional,
        loss: Loss = losses.denoising,
        *,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        transform: Transform | None = None,
        augment: Augment | None = None,
        condition_dropout: float = 0.1,
        coupling: Coupling | None = None,
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
        if coupling is not None and not isinstance(denoiser, Flow):
            raise ValueError(
                f"a coupling makes a field that is no score: it is for a Flow; got {type(denoiser).__name__}"
            )
        if not 0 <= condition_dropout <= 1:
            raise ValueError(f"condition_dropout must lie in [0, 1]; got {condition_dropout}")
        if {"t", "times", "weight"} & set(getattr(loss, "keywords", {})):
            raise ValueError("give times and weight to fit itself, not to the loss")
        self.denoiser, self.loss = denoiser, loss
        self.teacher = getattr(loss, "keywords", {}).get("teacher")  # goes where the objective goes, and is not trained
        self._draws = _Draws(times or Uniform(), transform, augment, condition_dropout, coupling)
        self._pairs: Pairs | None = None
        self._options = {} if weight is None else {"weight": weight}
        self.levels = LossByLevel()

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.denoiser}

    def frozen(self) -> Sequence[nn.Module]:
        return () if self.teacher is None else (self.teacher,)

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
        if how.coupling is not None:
            self._pairs = Pairs(how.coupling, source, cast(Flow, self.denoiser).origin, how.prepare)
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
        if self._pairs is None:
            x0, origin = how.prepare(raw, draws), {}
        else:
            x0, x1, cond = self._pairs.at(draws.index.cpu(), draws.seed)
            origin = {"eps": x1}
        t = how.times.sample(len(raw), draws)
        if cond and how.condition_dropout:
            cond = {**cond, "null": draws.uniform() < how.condition_dropout}
        return {**super().batch(x0, {**cond, **origin}, draws), "t": t}

    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        cond = {name: value for name, value in batch.items() if name not in ("x0", "t", "eps")}
        x0, t = batch["x0"], batch["t"]
        origin = {"eps": batch["eps"]} if "eps" in batch else {}
        values = self.loss(self.denoiser, x0, t=t, generator=draws, cond=cond, **origin, **self._options)
        named = values if isinstance(values, dict) else {"loss": values}
        named = {name: arguments.per_sample(value, len(x0)) for name, value in named.items()}
        self.levels.update(-self.denoiser.schedule.log_snr(t), named.get("reference", named["loss"]).detach().cpu())
        return named

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
        named = ("schedule", "parameterization", "level", *denoiser.settings)
        measured = ("data_std", "data_mean")
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
