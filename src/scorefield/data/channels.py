"""Channels in their own units: each to mean 0 and standard deviation 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.data._moments import moments
from scorefield.data.sources import Source
from scorefield.data.transforms import Standardized
from scorefield.randomness import Randomness


@dataclass(frozen=True)
class Channels(Standardized):
    """x_c = (y_c - mean_c) / std_c for the channels of events (C, ...): a voltage beside a mask, say; continuous.

    Args:
        channel_mean, channel_std: C numbers each, raw units.
        masked: whether the last channel is 1 where there is a series and 0 beyond its end.

    In model units every channel has mean 0 and standard deviation 1, hence `mean` and `sigma_data`.

    Raises:
        ValueError: for moments of unequal numbers, a mean that is not finite, or a standard deviation that is not
            positive and finite; in a call, for another number of channels.
    """

    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    masked: bool = False

    def __post_init__(self) -> None:
        for name in ("channel_mean", "channel_std"):  # a checkpoint gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.channel_mean or len(self.channel_mean) != len(self.channel_std):
            raise ValueError(
                f"Channels: channel_mean and channel_std must be of one length, at least 1; got "
                f"{len(self.channel_mean)} and {len(self.channel_std)}"
            )
        if not (all(map(math.isfinite, self.channel_mean)) and all(0 < s < math.inf for s in self.channel_std)):
            raise ValueError("Channels: channel_mean must be finite, channel_std positive and finite")

    @classmethod
    def measured(cls, x: Tensor | Source) -> Channels:
        """The transform that gives each channel of `x` mean 0 and standard deviation 1; a source is read in chunks.

        Raises:
            ValueError: for events that are not (C, ...), integers of levels, or a constant channel.
        """
        shape = tuple(x.shape[1:]) if isinstance(x, Tensor) else x.event_shape
        if len(shape) < 2:
            raise ValueError(f"Channels is for events (C, ...); got {shape}: use Standardize, or Scale")
        if not isinstance(x, Tensor) and x.levels is not None:
            raise ValueError(f"Channels is for continuous data; these have levels {x.levels}: use Scale")
        m = moments(x, per_entry=True)
        mean = m.mean.flatten(1).mean(1)
        var = (m.var + m.mean.square()).flatten(1).mean(1) - mean.square()
        constant = (m.low.flatten(1).amin(1) == m.high.flatten(1).amax(1)).nonzero().flatten().tolist()
        if constant:
            names = ", ".join(f"channel {c}" for c in constant)
            raise ValueError(f"Channels needs channels that vary; leave out the constant {names}")
        return cls(tuple(mean.tolist()), tuple(var.sqrt().tolist()), bool(getattr(x, "masked", False)))

    def log_jacobian(self, dims: int) -> float:
        """log |det dx / dy|, nats, of events of `dims` entries.

        Raises:
            ValueError: for a number of entries that is no multiple of the channels.
        """
        if dims % len(self.channel_std):
            raise ValueError(f"dims must be a multiple of the {len(self.channel_std)} channels; got {dims}")
        return -(dims // len(self.channel_std)) * math.fsum(map(math.log, self.channel_std))

    def dequantize(self, x_raw: Tensor, generator: Randomness = None) -> Tensor:
        """The same as calling it: continuous data take no noise."""
        return self(x_raw)

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim < 3 or x.shape[1] != len(self.channel_mean):
            raise ValueError(f"Channels has {len(self.channel_mean)} channels; got shape {tuple(x.shape)}")
        shape = (-1, *[1] * (x.ndim - 2))
        mean, std = (torch.tensor(v, dtype=x.dtype, device=x.device) for v in (self.channel_mean, self.channel_std))
        return mean.reshape(shape), std.reshape(shape)
