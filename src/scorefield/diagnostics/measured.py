"""Denoising errors by noise level: of a model, of a changed one, of the references, on the same data and noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.diagnostics.references import References
from scorefield.randomness import Stream, randn_like

CHUNK = 2**18  # numbers at a time
SIGNIFICANT = 4.0  # standard errors of a mean over data: 3e-5 by chance


class Points(NamedTuple):
    """Data and the noise that is put on them, the same at every level."""

    x0: Tensor  # (n, *event), model units
    eps: Tensor  # of its shape
    told: Conditions

    @classmethod
    def of(cls, x0: Tensor, told: Conditions, rows: Tensor, seed: int) -> Points:
        x0 = x0[rows.to(x0.device)]
        noise = randn_like(x0, Stream(seed, torch.arange(len(x0), device=x0.device)))
        return cls(x0, noise, told.rows(rows.to(x0.device)))

    def few(self, n: int) -> Points:
        some = slice(0, n)
        return Points(self.x0[some], self.eps[some], self.told.rows(some))


def time_of(denoiser: Denoiser, s: float) -> Tensor | None:
    """When the noise ratio of the denoiser's process is s; None where it never is."""
    t = denoiser.schedule.time_of_log_snr(-math.log(s))
    return t if abs(float(denoiser.schedule.noise_ratio(t)) / s - 1) < 1e-3 else None


def predictions(denoiser: Denoiser, points: Points, s: float) -> Tensor | None:
    """E[x0 | x_t] at noise ratio s, `(n, *event)` float64; None where the process has no such level."""
    t = time_of(denoiser, s)
    if t is None:
        return None
    alpha, sigma = denoiser.schedule(t)
    parts = []
    chunk = max(1, CHUNK // points.x0[0].numel())
    for i in range(0, len(points.x0), chunk):
        rows = slice(i, i + chunk)
        x_t = float(alpha) * points.x0[rows] + float(sigma) * points.eps[rows]
        parts.append(denoiser(x_t, t, **points.told.rows(rows)).double())
    return torch.cat(parts)


def squares(x: Tensor) -> Tensor:
    """The mean square of each sample's entries, `(n,)`."""
    return x.double().square().flatten(1).mean(1)


def errors(denoiser: Denoiser, points: Points, s: Tensor) -> Tensor:
    """|E[x0 | x_t] - x0|^2 an entry, `(L, n)`; NaN where the process has no such level, or the model no answer."""
    rows = []
    for level in s.tolist():
        found = predictions(denoiser, points, level)
        rows.append(
            torch.full((len(points.x0),), torch.nan, dtype=torch.float64, device=points.x0.device)
            if found is None
            else squares(found - points.x0)
        )
    return torch.stack(rows).cpu()


class Floor(NamedTuple):
    """What the best of the references errs, by level."""

    error: Tensor  # (L, n)
    names: list[str]


def floor_of(references: References, points: Points, s: Tensor) -> Floor:
    """The reference of the least mean error at each level, its errors on the points."""
    rows, names = [], []
    for level in s.tolist():
        y = points.x0 + level * points.eps
        found = {name: squares(references.of(name, y, level) - points.x0) for name in references.names}
        best = min(found, key=lambda name: float(found[name].mean()))
        rows.append(found[best])
        names.append(best)
    return Floor(torch.stack(rows).cpu(), names)


def displacement(s: Tensor, std: float, excess: Tensor) -> float:
    """How far an error of D of mean square `excess` `(L,)` moves samples, in the data's standard deviations.

        int sqrt(E |dD|^2) / sqrt(s^2 + sd^2) dlog s

    which is exact for Gaussian data where errors add up: on the way from s to 0 their ODE contracts by sd / sqrt(s^2 +
    sd^2). What is negative counts against the rest.
    """
    excess = excess.nan_to_num(0.0, 0.0, 0.0)
    return float((excess.sign() * excess.abs().sqrt() / (s**2 + std**2).sqrt() * widths(s)).sum())


def certain(s: Tensor, std: float, gain: Tensor) -> bool:
    """Whether gains `(L, n)` are none by chance: their sum over the levels, each over s^2 + sd^2, is by SIGNIFICANT
    standard errors over the samples."""
    whole = (gain.nan_to_num(0.0, 0.0, 0.0) * (widths(s) / (s**2 + std**2))[:, None]).sum(0)
    return float(whole.mean()) > SIGNIFICANT * float(whole.std()) / len(whole) ** 0.5


def widths(s: Tensor) -> Tensor:
    """dlog s of each level, `(L,)`."""
    log = s.log()
    edges = torch.cat([log[:1], (log[1:] + log[:-1]) / 2, log[-1:]])
    return edges.diff()
