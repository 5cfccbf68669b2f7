"""What a user measures in: grey values from 0 (black) to 1 (white) for pictures, else the data's own units.

Models see integers k of L levels as numbers in the bin [k, k + 1), so that grey value v = k / (L - 1) stands at its
middle, k + 1/2:  v = (raw - 1/2) / (L - 1).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from scorefield.data import Scale, Transform
from scorefield.inverse.measurement import GaussianNoise


class Units(NamedTuple):
    """A user's units, and the transform of the model they are for."""

    transform: Transform | None
    white: float
    middle: float  # of a grey value's bin, which is where models see it

    @classmethod
    def of(cls, transform: Transform | None) -> Units:
        """Grey values where the data have levels."""
        levels = transform.levels if isinstance(transform, Scale) else None
        return cls(transform, 1.0, 0.0) if levels is None else cls(transform, levels - 1.0, 0.5)

    @property
    def grey(self) -> bool:
        """Whether they are grey values."""
        return self.white != 1

    def of_raw(self, x_raw: Tensor) -> Tensor:
        """Raw data, float64."""
        return x_raw.double() / self.white

    def of_model(self, x: Tensor) -> Tensor:
        """What a model made of each observation, `(B, n, *event)`, float64."""
        raw = x.double().flatten(0, 1)  # transforms take one axis of samples
        raw = raw if self.transform is None else self.transform.inverse(raw)
        return (raw.reshape(x.shape) - self.middle) / self.white

    def in_model(self, likelihood: GaussianNoise) -> GaussianNoise:
        """A likelihood of numbers in these units, of the model's."""
        raw = likelihood.standardized(1 / self.white, -self.middle / self.white)
        return raw if self.transform is None else raw.for_model(self.transform)
