"""How to train, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scorefield.training import distributed
from scorefield.training.arguments import check, each, flag, number, whole
from scorefield.training.ema import WIDEST
from scorefield.training.optimizers import AdamW, Decay, Optimizer, cosine

LEAST = {"steps": 1, "batch_size": 1, "accumulate": 1, "warmup": 0, "patience": 0, "rollbacks": 0, "seed": -(2**63)}


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
        ValueError: for a number out of range, or a batch that the pieces do not divide.
        TypeError: for what is no number, no whole one where it must be, no optimiser or no decay.
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
        read = {
            **dict.fromkeys(LEAST, whole),
            **dict.fromkeys(("lr", "clip", "ema_decay"), number),
            **dict.fromkeys(("bf16", "channels_last", "compile", "shard"), flag),
            "power_ema": each,
        }
        for name, plain in read.items():
            object.__setattr__(self, name, plain(name, getattr(self, name)))
        for name in ("optimizer", "decay"):
            check(name, getattr(self, name))
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if self.seed >= 2**64:
            raise ValueError(f"seed must be less than 2^64; got {self.seed}")
        parts = self.accumulate * distributed.size()
        if self.batch_size % parts:
            raise ValueError(f"batch_size must be a multiple of accumulate x processes, {parts}; got {self.batch_size}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive and finite; got {self.lr}")
        if not self.clip > 0:
            raise ValueError(f"clip must be positive; got {self.clip}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1); got {self.ema_decay}")
        if strange := [width for width in self.power_ema if not 0 < width < WIDEST]:
            raise ValueError(f"power_ema must hold widths in (0, {WIDEST:.4f}); got {strange[0]}")
