"""Who is examined: a model, its data in its units, and what each says of the data's mean and standard deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import Unstated
from scorefield.diagnostics.references import Spectrum
from scorefield.solvers import Solver


@dataclass(frozen=True, eq=False)
class Subject:
    """A model beside data; `scale` and `shift` are what a repair does to the data it was given."""

    denoiser: Denoiser
    present: Denoiser | None  # with its last weights, not averaged
    spectrum: Spectrum  # of the data as they were given
    believed: tuple[float, float]  # mean and standard deviation of the model's own samples
    solver: Solver | None = None
    nfe: int | None = None
    scale: float = 1.0
    shift: float = 0.0

    @property
    def stated(self) -> tuple[float, float] | None:
        """(mean, standard deviation) that the denoiser states; None where nobody gave them."""
        std, mean = self.denoiser.data_std, self.denoiser.data_mean
        if isinstance(std, Unstated):
            return None
        return float(mean.double().mean()) if isinstance(mean, Tensor) else float(mean), float(std)

    @property
    def measured(self) -> tuple[float, float]:
        """(mean, standard deviation) of the data, as they are after the repair."""
        return self.scale * float(self.spectrum.mean.mean()) + self.shift, abs(self.scale) * self.spectrum.std

    def scaled(self, scale: float, shift: float) -> Subject:
        return replace(self, scale=scale * self.scale, shift=scale * self.shift + shift)

    def time(self, s: float) -> Tensor:
        return self.denoiser.schedule.time_of_log_snr(-math.log(s))
