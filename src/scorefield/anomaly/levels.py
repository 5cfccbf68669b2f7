"""Measurements at several noise levels: norms of the score, errors of denoising.

With y = x / alpha, s = sigma / alpha, D = E[x0 | x_t], d dimensions and L noise levels s_1 < ... < s_L:

    ScoreNorms          |s_l grad log p_{s_l}(x)| / sqrt(d) = |x - D(x; s_l)| / (s_l sqrt(d))
    DenoisingErrors     |x - D(x + s_l eps; s_l)|^2 / d                   mean over draws of eps

ScoreNorms take x itself, without noise, at every level. For data N(m, c I) their squares, times d, are
(s^2 c / (c + s^2)^2) chi^2_d; DenoisingErrors are, on average, s^2 c / (c + s^2), the posterior variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.anomaly.measurements import Given, Measurement
from scorefield.denoisers import Denoiser
from scorefield.likelihood.divergence import FIRST_DRAW
from scorefield.randomness import Noise

OWN_DRAWS = FIRST_DRAW + 2**21  # others than those of probes, dequantisation and bounds


@dataclass(frozen=True)
class _Levels(Measurement):
    """Noise ratios evenly spaced in log s from `s_min` to `s_max`, in units of the data's standard deviation.

    A process that begins or ends between them sets its own.
    """

    levels: int = 10
    s_min: float = 0.02
    s_max: float = 20.0

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1; got {self.levels}")
        if not 0 < self.s_min <= self.s_max:
            raise ValueError(f"s_min and s_max must be positive, s_min the smaller; got {self.s_min} and {self.s_max}")

    @property
    def size(self) -> int:
        return self.levels

    def times(self, denoiser: Denoiser) -> Tensor:
        """`(L,)` float64, increasing."""
        schedule, sd = denoiser.schedule, denoiser.data_std
        ends = torch.tensor([self.s_min, self.s_max], dtype=torch.float64, device="cpu").log() + math.log(sd)
        least, most = (schedule.noise_ratio(t).log() for t in (0.0, 1.0))
        ends = ends.clamp(least, most)
        return schedule.time_of_log_snr(
            -torch.linspace(float(ends[0]), float(ends[1]), self.levels, device="cpu").double()
        )


@dataclass(frozen=True)
class ScoreNorms(_Levels):
    """|s grad log p_s(x)| / sqrt(d) at L noise levels: L evaluations (Mahmood et al. 2021, MSMA)."""

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        norms = []
        for t in self.times(denoiser):
            alpha, sigma = (float(v) for v in denoiser.schedule(t))
            residual = given.x - denoiser(alpha * given.x, t, **given.cond)
            norms.append(_mean_square(residual).sqrt() * (alpha / sigma))
        return torch.stack(norms, 1)


@dataclass(frozen=True)
class DenoisingErrors(_Levels):
    """|x - D(x + s eps; s)|^2 / d at L noise levels, L `draws` evaluations: one-step reconstructions.

    Graham et al. 2023 reconstruct by running the sampler from each level; one step keeps the idea and a tenth of the
    cost.

    Raises:
        ValueError: for less than one draw.
    """

    levels: int = 8
    s_min: float = 0.1
    s_max: float = 5.0
    draws: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1; got {self.draws}")

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        x = given.x
        index = torch.arange(given.first_index, given.first_index + len(x), device=x.device)
        noise = Noise(given.seed, index, tuple(x.shape[1:]), x.dtype)
        errors = []
        for level, t in enumerate(self.times(denoiser)):
            alpha, sigma = (float(v) for v in denoiser.schedule(t))
            total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for draw in range(self.draws):
                eps = noise.normal(OWN_DRAWS + level * self.draws + draw)
                total += _mean_square(x - denoiser(alpha * x + sigma * eps, t, **given.cond))
            errors.append(total / self.draws)
        return torch.stack(errors, 1)


def _mean_square(x: Tensor) -> Tensor:
    return x.flatten(1).double().square().sum(1) / max(1, math.prod(x.shape[1:]))
