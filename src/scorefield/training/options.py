"""How to train, as values."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

from scorefield.training import distributed
from scorefield.training.optimizers import AdamW, Decay, Optimizer, cosine

WHOLE = ("steps", "batch_size", "accumulate", "warmup", "patience", "rollbacks", "seed")


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
        bf16: the networks' matrix products in bfloat16 (autocast); weights and losses stay float32. A CPU that has no
            such instructions would only emulate them: there everything stays float32, with a warning.
        channels_last: memory format of images and convolutions.
        compile: torch.compile the networks: minutes at first, worth it on a GPU.
        shard: split the weights over the processes (FSDP2).
        patience: steps in a row whose loss or gradient is not finite that are passed over; then the last checkpoint is
            taken up again, at most `rollbacks` times.
        seed: of the data order and all noise.

    Whole numbers may be those of NumPy and torch. A run goes on from a checkpoint with the same options, but for those
    in `record.FREE`.

    Raises:
        ValueError: for less than one step, sample or piece, a batch that the pieces do not divide, or an lr or clip
            that is not positive.
        TypeError: for what is no number, or no whole one where it must be.
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
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    shard: bool = False
    patience: int = 3
    rollbacks: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in WHOLE:
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        for name in ("lr", "clip", "ema_decay"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        object.__setattr__(self, "power_ema", tuple(number("power_ema", sigma) for sigma in self.power_ema))
        if min(self.steps, self.batch_size, self.accumulate) < 1:
            raise ValueError(
                "steps, batch_size and accumulate must be at least 1; "
                f"got {self.steps}, {self.batch_size} and {self.accumulate}"
            )
        parts = self.accumulate * distributed.size()
        if self.batch_size % parts:
            raise ValueError(f"batch_size must be a multiple of accumulate x processes, {parts}; got {self.batch_size}")
        if not (self.lr > 0 and self.clip > 0):
            raise ValueError(f"lr and clip must be positive; got {self.lr} and {self.clip}")


def whole(name: str, value: Any) -> int:
    """`value`, of Python, NumPy or torch, as Python's whole number; `name` is what a message calls it.

    Raises:
        TypeError: for anything else.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; got {value!r}") from None


def number(name: str, value: Any) -> float:
    """`value` as Python's float.

    Raises:
        TypeError: for what is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number; got {value!r}") from None
