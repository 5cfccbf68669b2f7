"""One step of training, and the whole of what a checkpoint must hold to go on from it.

A step is a function of (weights, optimiser, seed, step): data, noise levels, noise, dropped conditions and dropout all
come from counters keyed by the sample's position in the run. So there is no random state to save; two processes see
what one sees; and N steps are N/2 steps, a restart, and N/2 steps, to the bit on a CPU.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from scorefield import losses, networks
from scorefield.conditions import Conditions
from scorefield.data import Source, Transform
from scorefield.denoisers import NetworkDenoiser, NoiseConditional
from scorefield.losses import TimeLaw, Uniform
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness, Stream
from scorefield.storage import models, sharded
from scorefield.training import batches, distributed, precision
from scorefield.training.ema import EMA, PowerEMA
from scorefield.training.levels import LossByLevel
from scorefield.training.optimizers import AdamW, Decay, Optimizer, cosine

Augment = Callable[[Tensor, Randomness], Tensor]


@dataclass(frozen=True)
class Options:
    """How to train; everything here is a value.

    Args:
        steps: updates of the weights.
        batch_size: samples an update, over all processes.
        accumulate: pieces in which a process computes its part of a batch: memory for time.
        lr: peak learning rate; `decay(step, steps, warmup)` multiplies it.
        clip: largest gradient norm.
        ema_decay: of the averaged weights, ramped up from the start; 0 keeps the last weights.
        power_ema: relative widths of power-function averages kept beside it, e.g. (0.05, 0.1) for `posthoc_ema`.
        condition_dropout: the share of samples whose conditions are made null, for guidance.
        bf16: the network's matrix products in bfloat16 (autocast); weights and losses stay float32. A CPU that has no
            such instructions would only emulate them: there everything stays float32, with a warning.
        channels_last: memory format of images and convolutions.
        compile: torch.compile the network: minutes at first, worth it on a GPU.
        shard: split the weights over the processes (FSDP2).
        patience: steps in a row whose loss or gradient is not finite that are passed over; then the last checkpoint is
            taken up again, at most `rollbacks` times.
        seed: of the data order and all noise.
    """

    steps: int
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    optimizer: Optimizer = field(default_factory=AdamW)
    warmup: int = 100
    decay: Decay = cosine
    clip: float = 1.0
    ema_decay: float = 0.999
    power_ema: tuple[float, ...] = ()
    condition_dropout: float = 0.1
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    shard: bool = False
    patience: int = 3
    rollbacks: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.accumulate) < 1:
            raise ValueError(
                "steps, batch_size and accumulate must be at least 1; "
                f"got {self.steps}, {self.batch_size} and {self.accumulate}"
            )
        parts = self.accumulate * distributed.size()
        if self.batch_size % parts:
            raise ValueError(f"batch_size must be a multiple of accumulate x processes, {parts}; got {self.batch_size}")
        if not (self.lr > 0 and self.clip > 0 and 0 <= self.condition_dropout <= 1):
            raise ValueError(
                "lr and clip must be positive and condition_dropout in [0, 1]; "
                f"got {self.lr}, {self.clip} and {self.condition_dropout}"
            )


class Objective(nn.Module):
    """The loss as a module of everything that is trained: the denoiser, and weights of the loss's own."""

    def __init__(self, denoiser: NoiseConditional, loss: Callable[..., Tensor], weight: Weight | None, bf16: bool):
        super().__init__()
        self.denoiser, self.loss, self.bf16 = denoiser, loss, bf16
        self.options = {} if weight is None else {"weight": weight}

    def forward(self, x0: Tensor, t: Tensor, generator: Randomness, cond: dict[str, Tensor]) -> Tensor:
        with precision.autocast(x0.device, self.bf16):
            return self.loss(self.denoiser, x0, t=t, generator=generator, cond=cond, **self.options)


class Outcome(NamedTuple):
    """Of a step, over all processes."""

    loss: float
    gradient_norm: float  # before clipping
    lr: float
    stop: bool  # some process was asked to

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


class Engine:
    """A denoiser, or a classifier, in training. `step(k)` is the k-th update, from 0; the caller says which is next."""

    def __init__(
        self,
        denoiser: NoiseConditional,
        source: Source,
        options: Options,
        *,
        loss: Callable[..., Tensor] = losses.denoising,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        transform: Transform | None = None,
        augment: Augment | None = None,
    ) -> None:
        _check(denoiser, source, options, loss)
        self.denoiser, self.source, self.options = denoiser, source, options
        self.times, self.transform, self.augment = times or Uniform(), transform, augment
        self.device = next(denoiser.parameters()).device
        if options.channels_last:
            denoiser.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        averages = {"ema": EMA(denoiser, options.ema_decay)}
        averages |= {f"power-{sigma:.3f}": PowerEMA(denoiser, sigma) for sigma in options.power_ema}
        if options.shard:
            for module in (denoiser, *(a.module for a in averages.values())):
                distributed.shard(module.net)
            if isinstance(loss, nn.Module):  # its weights' gradients are to be averaged too
                distributed.shard(loss)
            for average in averages.values():
                average.follow(denoiser)
        self.averages: dict[str, EMA | PowerEMA] = averages
        bf16 = options.bf16 and precision.native(self.device)
        if options.bf16 and not bf16:
            warnings.warn("this CPU has no bfloat16 instructions: training in float32 instead", stacklevel=3)
        self.objective = Objective(denoiser, loss, weight, bf16).to(self.device).train()
        self._weights = list(self.objective.parameters())
        self.optimizers = options.optimizer.build(self.objective, options.lr)
        for group in self._groups():
            group["peak"] = group["lr"]
        self.forward = distributed.wrap(self.objective, sharded=options.shard)
        if options.compile:
            denoiser.net.compile()
        self.levels = LossByLevel()
        self._has_dropout = any(isinstance(m, networks.Dropout) and m.p for m in denoiser.modules())

    def step(self, step: int, *, stop: bool = False) -> Outcome:
        """The update of step `step`; a loss or gradient that is not finite leaves every weight as it was."""
        options = self.options
        if not self.denoiser.net.training:  # to say so to every layer takes as long as a small network
            self.objective.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        total, parts = torch.zeros(2), options.accumulate * distributed.size()
        for k in range(options.accumulate):
            part = distributed.rank() * options.accumulate + k
            with self._without_sync() if k < options.accumulate - 1 else contextlib.nullcontext():
                value = self._losses(batches.positions(step, options.batch_size, part, parts)).mean()
                (value / options.accumulate).backward()
            total[0] += value.detach().cpu() / options.accumulate
        total[1] = float(stop)
        distributed.mean(total)
        norm = torch.nn.utils.clip_grad_norm_(self._weights, options.clip)
        factor = options.decay(step, options.steps, options.warmup)
        outcome = Outcome(float(total[0]), float(sharded.full(norm)), factor * options.lr, bool(total[1] > 0))
        if outcome.finite:
            for group in self._groups():
                group["lr"] = factor * group["peak"]
            for optimizer in self.optimizers:
                optimizer.step()
            for average in self.averages.values():
                average.update()
        return outcome

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(x0, t, cond) of the samples at positions `index`, on the device."""
        seed, source = self.options.seed, self.source
        x_raw, cond = source.batch(batches.rows(len(source), index, seed))
        draws = Stream(batches.derived_seed(seed, 0), index)
        x0 = self.transform.dequantize(x_raw, draws) if self.transform else x_raw
        x0 = self.augment(x0, draws) if self.augment else x0
        t = self.times.sample(len(index), draws)
        if cond and self.options.condition_dropout:
            cond = {**cond, "null": draws.uniform() < self.options.condition_dropout}
        images = self.options.channels_last and x0.ndim == 4
        x0 = x0.to(self.device, memory_format=torch.channels_last if images else torch.preserve_format)
        return x0, t, Conditions.of(cond, len(index), x0.dtype, self.device, what="data")

    def _losses(self, index: Tensor) -> Tensor:
        x0, t, cond = self.batch(index)
        index, seed = index.to(self.device), self.options.seed
        if self._has_dropout:
            networks.set_dropout(self.denoiser, batches.derived_seed(seed, 3), index)
        values = self.forward(x0, t, Stream(batches.derived_seed(seed, 1), index), cond)
        self.levels.update(-self.denoiser.schedule.log_snr(t), values.detach().cpu())
        return values

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _without_sync(self) -> contextlib.AbstractContextManager[None]:
        return self.forward.no_sync() if hasattr(self.forward, "no_sync") else contextlib.nullcontext()  # type: ignore[operator,return-value]

    # What a checkpoint holds

    def files(self, meta: dict[str, Any]) -> dict[str, bytes]:
        """The checkpoint's files: weights, averages, optimiser. All processes must call this together."""
        kept = {"model": self.denoiser, **{name: average.module for name, average in self.averages.items()}}
        files = {
            f"{name}.safetensors": models.dumps(module, meta, transform=self.transform) for name, module in kept.items()
        }
        files["optim.safetensors"] = safetensors.torch.save(
            {name: sharded.full(value) for name, value in self._optimizer_tensors().items()}
        )
        return files

    def state(self) -> dict[str, Any]:
        """The plain values beside the files."""
        return {
            "averages": {name: average.state() for name, average in self.averages.items()},
            "levels": self.levels.state(),
        }

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Takes up what `files` and `state` kept in `folder`.

        Raises:
            ValueError: if they are of another network, loss or set of averages.
        """
        kept = {"model": self.denoiser, **{name: average.module for name, average in self.averages.items()}}
        with torch.no_grad():
            for name, module in kept.items():
                path, own = folder / f"{name}.safetensors", module.net.state_dict()
                weights = models.load_weights(path) if path.is_file() else {}
                _check_same(folder, name, weights, own)
                for key, tensor in own.items():
                    tensor.copy_(sharded.like(tensor, weights[key]))
            saved = safetensors.torch.load_file(folder / "optim.safetensors")
            for optimizer in self.optimizers:
                for name, p in self._named(optimizer):
                    mine = {key: saved[f"{name}:{key}"] for key in _keys(saved, name)}
                    # a count of steps has no dimension: it is whole wherever the weight is split
                    optimizer.state[p] = {
                        key: sharded.like(p, value) if value.ndim else value.to(p.device) for key, value in mine.items()
                    }
            own = dict(self._loss_weights())
            _check_same(folder, "loss", {key: saved[f"loss:{key}"] for key in _keys(saved, "loss")}, own)
            for name, p in own.items():
                p.copy_(sharded.like(p, saved[f"loss:{name}"]))
        for name, average in self.averages.items():
            average.load_state(state["averages"][name])
        self.levels.load_state(state["levels"])

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        tensors = {
            f"{name}:{key}": value
            for optimizer in self.optimizers
            for name, p in self._named(optimizer)
            for key, value in optimizer.state.get(p, {}).items()
        }
        return {**tensors, **{f"loss:{name}": p for name, p in self._loss_weights()}}

    def _named(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return [(name, p) for name, p in self.objective.named_parameters() if id(p) in held]

    def _loss_weights(self) -> list[tuple[str, nn.Parameter]]:
        loss = self.objective.loss
        return list(loss.named_parameters()) if isinstance(loss, nn.Module) else []


def _keys(saved: dict[str, Tensor], name: str) -> list[str]:
    return [key.rpartition(":")[2] for key in saved if key.rpartition(":")[0] == name]


def _check_same(folder: Path, name: str, kept: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    if {key: t.shape for key, t in kept.items()} != {key: t.shape for key, t in own.items()}:
        raise ValueError(f"{folder} is of another run: {name!r} is missing there, or has other weights than this one's")


def _check(denoiser: NoiseConditional, source: Source, options: Options, loss: Callable[..., Tensor]) -> None:
    if len(source) < 1:
        raise ValueError("data must not be empty; got 0 samples")
    if {"t", "times", "weight"} & set(getattr(loss, "keywords", {})):
        raise ValueError("give times and weight to fit itself, not to the loss")
    if source.num_classes is None:
        return
    conditions = getattr(denoiser.net, "conditions", ())
    takes_labels = "label" in conditions or "label" in inspect.signature(denoiser.net.forward).parameters
    told = isinstance(denoiser, NetworkDenoiser)  # a classifier is asked, not told
    if told and (not takes_labels or (options.condition_dropout and "label" not in conditions)):
        raise ValueError(
            "labels need a network that takes them, with 'label' in its `conditions`; "
            f"{type(denoiser.net).__name__} takes {', '.join(conditions) or 'none'}"
        )
    classes = getattr(denoiser.net, "num_classes", None)
    if classes is not None and source.num_classes > classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}; got 0..{source.num_classes - 1}")
