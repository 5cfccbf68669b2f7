"""Models that draw in one pass from a latent vector, z ~ N(0, I)."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from scorefield.denoisers.base import evaluating
from scorefield.randomness import Noise
from scorefield.sampling import Samples

CHUNK_ENTRIES = 2**20  # of the event, drawn at a time


class Generative(nn.Module, abc.ABC):
    """A law of data given by how it is drawn, in the model's units.

    Args:
        latent: entries of z.
        event_shape: of one datum.

    Attributes:
        lacks: what can't be had of it, a "score" or a "density", and why: as `Denoiser.lacks`.

    Raises:
        ValueError: for a latent size below 1.
    """

    lacks: Mapping[str, str] = MappingProxyType({})

    def __init__(self, latent: int, event_shape: Sequence[int]) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"latent must be at least 1; got {latent}")
        self.latent, self.event_shape = latent, tuple(event_shape)

    @abc.abstractmethod
    def drawn(self, noise: Noise) -> Tensor:
        """`(B, *event)`, a function of the samples' noise, whose draw 0 is z: `self.latents(noise)`."""

    def latents(self, noise: Noise) -> Tensor:
        """z `(B, latent)`: the samples' draw 0."""
        return Noise(noise.seed, noise.index, (self.latent,), noise.dtype).normal(0)

    @torch.no_grad()
    def sample(self, n: int, *, seed: int = 0, first_index: int = 0, chunk: int | None = None) -> Samples:
        """`n` samples in one evaluation each; sample i is a function of (seed, first_index + i) alone.

        Args:
            chunk: samples at a time; chosen by memory unless given.

        Raises:
            ValueError: for a negative n, or a chunk below 1.
        """
        chunk = max(1, CHUNK_ENTRIES // math.prod(self.event_shape)) if chunk is None else chunk
        if n < 0 or chunk < 1:
            raise ValueError(f"n must be at least 0 and chunk at least 1; got {n} and {chunk}")
        weight = next(self.parameters())
        index = torch.arange(first_index, first_index + n, device=weight.device)
        with evaluating(self):
            parts = [self.drawn(Noise(seed, rows, self.event_shape, weight.dtype)) for rows in index.split(chunk)]
        return Samples(torch.cat(parts), nfe=1, depth=1)
