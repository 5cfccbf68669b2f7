"""One step of training, and the whole of what a checkpoint must hold to go on from it.

A step is a function of (weights, optimiser, seed, step): data, noise levels, noise, dropped conditions and dropout all
come from counters keyed by the sample's position in the run. So there is no random state to save; two processes see
what one sees; and N steps are N/2 steps, a restart, and N/2 steps, to the bit on a CPU.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from scorefield import networks
from scorefield._caller import warn
from scorefield.data import Source
from scorefield.randomness import Stream
from scorefield.storage import sharded
from scorefield.storage.compiled import plain_name, plain_names
from scorefield.storage.files import to_json
from scorefield.training import batches, distributed, fingerprint, precision, record
from scorefield.training.arguments import number, per_sample
from scorefield.training.ema import EMA, PowerEMA
from scorefield.training.objective import Now, Objective
from scorefield.training.options import Options
from scorefield.training.turns import Mover, Undo, movers

_KINDS = ("count", "event_shape", "levels", "num_classes")  # of data, besides what they hold
RESERVED = ("step", "lr", "seconds", "gradient_norm")  # what the log has of every step, besides the loss
FILES = ("ema", "optim", "batch")  # what other files are called


class Outcome(NamedTuple):
    """Of a step, over all processes."""

    loss: float  # of the first turn
    gradient_norm: float  # of the first turn, before clipping
    lr: float
    stop: bool  # some process was asked to
    values: dict[str, float]  # whatever else is to be logged
    trouble: str = ""  # "loss is nan": what was not finite, so that no weight was touched

    @property
    def finite(self) -> bool:
        return not self.trouble


class Engine:
    """An objective in training. `step(k)` is the k-th update, from 0; the caller says which is next.

    Raises:
        ValueError: for no data or data that the objective refuses, models of forbidden names, or turns that do not
            share out the weights.
    """

    def __init__(self, objective: Objective, source: Source, options: Options) -> None:
        if len(source) < 1:
            raise ValueError("data must not be empty; got 0 samples")
        if next(objective.parameters(), None) is None:
            raise ValueError(f"{type(objective).__name__} has no weight to train")
        objective.check(source)
        self.objective, self.source, self.options = objective, source, options
        self.device, self._models = objective.device, objective.models()
        if not self._models or any(not name.isidentifier() or name in FILES for name in self._models):
            raise ValueError(f"models must have words for names, and none of {', '.join(FILES)}; got {[*self._models]}")
        self._networks = [objective.network(model) for model in self._models.values()]
        for module in objective.frozen():
            module.requires_grad_(False)
        if options.channels_last:
            for network in self._networks:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averages: dict[str, EMA | PowerEMA] = {}  # by their file's name
        self._kept = {name: (name, model) for name, model in self._models.items()}  # file's name: whose, and what
        for name in objective.averaged():
            model = self._models[name]
            averages = {"ema": EMA(model, options.ema_decay)}
            averages |= {f"power-{sigma:.3f}": PowerEMA(model, sigma) for sigma in options.power_ema}
            self.averages |= {_file(name, kind): average for kind, average in averages.items()}
            self._kept |= {_file(name, kind): (name, average.module) for kind, average in averages.items()}
        if options.shard:
            self._shard()
        self._bf16 = options.bf16 and precision.native(self.device)
        if options.bf16 and not self._bf16:
            warn("this CPU has no bfloat16 instructions: training in float32 instead")
        objective.to(self.device).train()
        self._movers = movers(objective, options.optimizer, options.lr, sharded=options.shard)
        if options.compile:
            for network in self._networks:
                network.compile()
        frozen = {id(buffer) for module in objective.frozen() for buffer in module.buffers()}
        self._buffers = [buffer for buffer in objective.buffers() if id(buffer) not in frozen]
        self._has_dropout = any(isinstance(m, networks.Dropout) and m.p for m in objective.modules())
        self._record = self._recorded()
        self._read: tuple[int, dict[str, Tensor]] | None = None  # the last piece of this step that was read

    def models(self) -> dict[str, nn.Module]:
        """The objective's models by name, with averaged weights where it has them averaged."""
        averaged = {name: self.averages[_file(name, "ema")].module for name in self.objective.averaged()}
        return {**self._models, **averaged}

    def step(self, step: int, *, stop: bool = False) -> Outcome:
        """The update of step `step`; a loss or gradient that is not finite leaves every weight as it was.

        Raises:
            ValueError: if the objective returns no loss or names what the log has already, or in several processes if
                its loss does not depend on a weight.
        """
        options = self.options
        if not all(network.training for network in self._networks):  # telling all layers takes as long as a small step
            self.objective.train()
        factor = number("what decay returns", options.decay(step, options.steps, options.warmup))
        due = [mover for mover in self._movers if (step + 1) % mover.turn.every == 0]
        self._read, undo, told, trouble, stopped = None, Undo(self._buffers), [], "", False
        for mover in due:
            numbers, asked = self._gradients(mover, step, stop)
            told, stopped = [*told, numbers], stopped or asked
            if trouble := self._trouble(mover, numbers):
                undo()
                break
            if mover is not due[-1]:
                undo.keep(mover)
            mover.move(factor)
        else:
            for average in self.averages.values():
                average.update()
            self.objective.updated(step + 1)
        values = {}
        for mover, numbers in zip(due, told, strict=False):
            values |= self._logged(mover, numbers)
        return Outcome(told[0]["loss"], told[0]["gradient_norm"], factor * options.lr, stopped, values, trouble)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """What the objective's losses get of the samples at positions `index`."""
        seed, source = self.options.seed, self.source
        raw, cond = source.batch(batches.rows(len(source), index, seed))
        batch = self.objective.batch(raw, cond, Stream(batches.derived_seed(seed, 0), index))
        if not self.options.channels_last:
            return batch
        return {n: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for n, v in batch.items()}

    def _gradients(self, mover: Mover, step: int, stop: bool) -> tuple[dict[str, float], bool]:
        """Leaves the turn's clipped gradients at its weights.

        Returns:
            Over all processes: means of what the losses named, and the gradient's norm; whether one was asked to stop.
        """
        accumulate, sums = self.options.accumulate, {}
        mover.zero_grad()
        with mover.alone():
            for k in range(accumulate):
                with mover.without_sync() if k < accumulate - 1 else contextlib.nullcontext():
                    means = {name: values.mean() for name, values in self._losses(mover, step, k).items()}
                    (means["loss"] / accumulate).backward()
                for name, mean in means.items():
                    sums.setdefault(name, torch.zeros((), device="cpu")).add_(mean.detach().cpu() / accumulate)
        if distributed.size() > 1:
            self._check_reached(mover)
        numbers = distributed.mean(torch.stack([*sums.values(), torch.tensor(float(stop), device="cpu")])).tolist()
        norm = torch.nn.utils.clip_grad_norm_(mover.weights, self.options.clip)
        named = dict(zip(sums, numbers, strict=False))
        return {**named, "gradient_norm": float(sharded.full(norm))}, numbers[-1] > 0

    def _losses(self, mover: Mover, step: int, k: int) -> dict[str, Tensor]:
        """What the objective says of this process's k-th piece of the step."""
        options, which = self.options, self._movers.index(mover)
        parts = options.accumulate * distributed.size()
        part = distributed.rank() * options.accumulate + k
        index = batches.positions(step, options.batch_size, part, parts)
        if self._read is None or self._read[0] != k:  # turns that come one after another read a whole batch once
            self._read = k, self.batch(index)
        index = index.to(self.device)
        if self._has_dropout:
            networks.set_dropout(self.objective, batches.derived_seed(options.seed, 3, 0, which), index)
        draws = Stream(batches.derived_seed(options.seed, 1, 0, which), index)
        with precision.autocast(self.device, self._bf16):
            values = mover.forward(self._read[1], draws, Now(mover.turn.name, step, options.steps))
        if not (isinstance(values, dict) and "loss" in values):
            raise ValueError(f"forward must return a dict with the 'loss' of each sample in it; got {type(values)}")
        if not per_sample(values["loss"], len(index)).requires_grad:
            raise ValueError("loss must depend on the weights that are trained; it has no gradient")
        if taken := [name for name in RESERVED if name in values]:
            raise ValueError(f"forward names {taken[0]!r}, which the log has of every step")
        return values

    def _logged(self, mover: Mover, numbers: dict[str, float]) -> dict[str, float]:
        """What the log calls a turn's numbers: by the turn, where there are several."""
        if len(self._movers) > 1:
            return {f"{mover.turn.name}.{name}": value for name, value in numbers.items()}
        return {name: value for name, value in numbers.items() if name not in ("loss", "gradient_norm")}

    def _trouble(self, mover: Mover, numbers: dict[str, float]) -> str:
        """What is not finite of a turn; empty if all is well."""
        whose = f" of {mover.turn.name!r}" if len(self._movers) > 1 else ""
        bad = (name for name in ("loss", "gradient_norm") if not math.isfinite(numbers[name]))
        return next((f"{name.replace('_', ' ')}{whose} is {numbers[name]}" for name in bad), "")

    def _check_reached(self, mover: Mover) -> None:
        """Refuses a loss that leaves a weight of its turn out: processes average gradients as they come, and wait."""
        if not self.options.shard and any(p.grad is None for p in mover.weights):
            left_out = {id(p) for p in mover.weights if p.grad is None}
            name = next(name for name, p in self.objective.named_parameters() if id(p) in left_out)
            raise ValueError(f"several processes need a gradient of every weight; the loss does not depend on {name!r}")

    def _shard(self) -> None:
        """Splits networks, averages and whatever else has weights among the processes."""
        if own := [name for name, p in self.objective.named_parameters(recurse=False) if p.requires_grad]:
            raise ValueError(f"to be sharded every weight must be in a module; {own[0]!r} is the objective's own")
        for network in self._networks:
            distributed.shard(network)
        for name, (_, module) in self._kept.items():
            if name in self.averages:
                distributed.shard(self.objective.network(module))
        held = {id(p) for network in self._networks for p in network.parameters()}
        for child in self.objective.children():  # such as a loss: its weights' gradients are to be averaged too
            if any(p.requires_grad and id(p) not in held for p in child.parameters()):
                distributed.shard(child)
        for name, average in self.averages.items():
            average.follow(self._models[self._kept[name][0]])

    # What a checkpoint holds

    def files(self, meta: dict[str, Any]) -> dict[str, bytes]:
        """The checkpoint's files: weights, averages, optimisers. All processes must call this together."""
        files = {
            f"{name}.safetensors": self.objective.dumps(model, module, meta)
            for name, (model, module) in self._kept.items()
        }
        tensors = {**self._optimizer_tensors(), **self._other_weights()}
        files["optim.safetensors"] = safetensors.torch.save({n: sharded.full(value) for n, value in tensors.items()})
        return files

    def _recorded(self) -> dict[str, Any]:
        """What the run is a function of, by name, as plain values, before it begins; see `training.record`."""
        options, source = self.options, self.source
        names = [f.name for f in fields(options) if f.name not in record.FREE]
        return {
            **{name: record.described(getattr(options, name)) for name in names},
            "data": {
                "count": len(source),
                "event_shape": list(source.event_shape),
                "levels": source.levels,
                "num_classes": source.num_classes,
                **fingerprint.of(source),
            },
            **self.objective.record(),
        }

    def state(self) -> dict[str, Any]:
        """The plain values beside the files.

        Raises:
            ValueError: if the objective's own take a name of the engine's, or JSON cannot hold them.
        """
        own = self.objective.state()
        if taken := [name for name in ("step", "seed", "record", "averages", "recipe") if name in own]:
            raise ValueError(f"state must not hold {taken[0]!r}, which is the engine's")
        averages = {name: average.state() for name, average in self.averages.items()}
        state = {"seed": self.options.seed, "record": self._record, "averages": averages, **own}
        return json.loads(to_json(state, "state"))

    def load(self, folder: Path, state: dict[str, Any], accept: Collection[str] = ()) -> None:
        """Takes up what `files` and `state` kept in `folder`.

        Args:
            accept: what may differ: "data", or "recipe" for all else.

        Raises:
            ValueError: if they are of another run: of another seed, optimiser, network, ...
        """
        # 0.1.0 kept the seed alone
        there = state.get("record", {"seed": state["seed"]})
        there = {n: v for n, v in there.items() if ("data" if n == "data" else "recipe") not in accept}
        if found := record.difference(there, self._record):
            name, old, new = found
            accepted = "data" if name.startswith("data.") else "recipe"
            what = f"{name} is {old} there; got {new}"
            if accepted == "data" and name.removeprefix("data.") not in _KINDS:
                what = f"the data are others than those it was trained on ({name} differs)"
            raise ValueError(f"{folder} is of another run: {what}. To go on all the same: --accept {accepted}")
        with torch.no_grad():
            for name, (model, module) in self._kept.items():
                path, own = folder / f"{name}.safetensors", plain_names(self.objective.saved(module).state_dict())
                weights = plain_names(self.objective.loads(model, path)) if path.is_file() else {}
                _check_same(folder, name, weights, own)
                for key, tensor in own.items():
                    tensor.copy_(sharded.like(tensor, weights[key]))
            saved = safetensors.torch.load_file(folder / "optim.safetensors")
            for optimizer in self._optimizers():
                for name, p in self._named(optimizer):
                    mine = {key: saved[f"{name}:{key}"] for key in _keys(saved, name)}
                    # a count of steps has no dimension: it is whole wherever the weight is split
                    optimizer.state[p] = {
                        key: sharded.like(p, value) if value.ndim else value.to(p.device) for key, value in mine.items()
                    }
            own = self._other_weights()
            parameters = {plain_name(name) for name, _ in self.objective.named_parameters()}
            others = {key: value for key, value in saved.items() if key.rpartition(":")[0] not in parameters}
            _check_same(folder, min(own.keys() ^ others.keys(), default="").partition(":")[0], others, own)
            for key, tensor in own.items():
                tensor.copy_(sharded.like(tensor, others[key]))
        for name, average in self.averages.items():
            average.load_state(state["averages"][name])
        self.objective.load_state(state)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}:{key}": value
            for optimizer in self._optimizers()
            for name, p in self._named(optimizer)
            for key, value in optimizer.state.get(p, {}).items()
        }

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [optimizer for mover in self._movers for optimizer in mover.optimizers]

    def _named(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return [(plain_name(name), p) for name, p in self.objective.named_parameters() if id(p) in held]

    def _other_weights(self) -> dict[str, Tensor]:
        """Weights and buffers of the objective that are in no model, as `loss:linear.weight`."""
        elsewhere = [*self._networks, *self.objective.frozen()]
        held = {id(tensor) for module in elsewhere for tensor in (*module.parameters(), *module.buffers())}
        tensors = self.objective.state_dict(keep_vars=True)
        return {
            plain_name(name).replace(".", ":", 1): tensor for name, tensor in tensors.items() if id(tensor) not in held
        }


def _file(model: str, kind: str) -> str:
    """The name of an average's file: `ema`, or `generator-ema` where the model has a name."""
    return kind if model == "model" else f"{model}-{kind}"


def _keys(saved: dict[str, Tensor], name: str) -> list[str]:
    return [key.rpartition(":")[2] for key in saved if key.rpartition(":")[0] == name]


def _check_same(folder: Path, name: str, kept: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    if {key: t.shape for key, t in kept.items()} != {key: t.shape for key, t in own.items()}:
        raise ValueError(f"{folder} is of another run: {name!r} is missing there, or has other weights than this one's")
