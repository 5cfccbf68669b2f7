"""Generative adversarial networks: the generator. Its critic lives in the objective, `Adversarial`."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from torch import Tensor, nn

from scorefield.baselines.generative import Generative
from scorefield.randomness import Noise


class GAN(Generative):
    """x = G(z), z ~ N(0, I).

    Args:
        generator: `(B, latent)` to `(B, *event)`, such as networks.MLPGenerator; to be saved it must keep the arguments
            of its constructor.
        latent: entries of z.
        event_shape: of one datum.

    Raises:
        ValueError: for a latent size below 1; when called, for a generator of another shape.

    References:
        Goodfellow et al. 2014.
    """

    lacks = MappingProxyType(
        {
            "score": "a GAN learns to draw and nothing else; train a denoiser for a score",
            "density": "a GAN's samples fill a surface of the latent's dimension, and no likelihood is defined there",
        }
    )

    def __init__(self, generator: nn.Module, latent: int, event_shape: Sequence[int]) -> None:
        super().__init__(latent, event_shape)
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        x = self.generator(z)
        if x.shape != (len(z), *self.event_shape):
            raise ValueError(f"generator must return {(len(z), *self.event_shape)}; got {tuple(x.shape)}")
        return x

    def drawn(self, noise: Noise) -> Tensor:
        return self(self.latents(noise))
