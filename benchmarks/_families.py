"""The problems of `solvers.py`: distributions whose denoiser is exact, and the exact end of every trajectory.

    A   2-D, 8 anisotropic Gaussians, standard deviations .03 to .4 along random axes, unequal weights
    B   64-D, 10 Gaussians of rank 4 plus a diagonal, unequal weights
    C   the 1,797 digits of 8 x 8 pixels in [0, 1], smoothed with h = 0.1

on two settings, `vp` from t = 1 and `edm` from sigma = 80; every run goes to sigma = 0. An instance of A and B is a
seed; C is one distribution, and its seed is that of the start alone.

The reference is the probability-flow ODE on the circle z = (cos theta / sd) x0 + sin theta eps, tan theta = s / sd,

    dz/dtheta = -tan theta (z + grad log p_theta(z)),

by the classical Runge-Kutta method of order 4 in float64 on theta = theta_T r^3, r from 1 to 0: none of the methods it
judges. Steps are halved until all but a thousandth of the samples stand still, which is the error it reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import scorefield as sf

OUT = Path(__file__).parent / "out"
FAMILIES, SETTINGS = ("A", "B", "C"), ("vp", "edm")
SMOOTHING = 0.1
ASTRAY = 0.2  # a relative distance that means another mode, from 5 evaluations on: a few such samples decide an RMS
TOLERANCE, SETTLED = 1e-6, 0.999  # relative distance, and the share of samples that must be within it


def family(name: str, seed: int = 0) -> sf.Distribution:
    """One instance, float64."""
    if name == "A":
        return _anisotropic(np.random.default_rng((1, seed)))
    if name == "B":
        return _low_rank(np.random.default_rng((2, seed)))
    if name == "C":
        pixels = torch.from_numpy(load_digits(return_X_y=True)[0]) / 16  # float64
        return sf.Empirical(pixels, SMOOTHING)
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}; got {name!r}")


def _anisotropic(rng: np.random.Generator, components: int = 8) -> sf.GaussianMixture:
    std = np.exp(rng.uniform(math.log(0.03), math.log(0.4), (components, 2)))
    angle = rng.uniform(0, math.pi, components)
    axes = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)
    covariances = axes * std[:, None] ** 2 @ axes.transpose(0, 2, 1)
    return sf.GaussianMixture(_weights(rng, components), rng.standard_normal((components, 2)), covariances)


def _low_rank(rng: np.random.Generator, components: int = 10, dim: int = 64, rank: int = 4) -> sf.GaussianMixture:
    factors = 0.3 * rng.standard_normal((components, dim, rank))
    diagonals = rng.uniform(0.05, 0.2, (components, dim)) ** 2
    means = rng.standard_normal((components, dim))
    return sf.GaussianMixture.low_rank(_weights(rng, components), means, diagonals, factors)


def _weights(rng: np.random.Generator, components: int) -> np.ndarray:
    weights = rng.uniform(0.2, 1.2, components)
    return weights / weights.sum()


@dataclass(frozen=True)
class Problem:
    """An instance on a setting, with `n` starts; the reference is made once and kept on disk."""

    family: str
    setting: str
    seed: int
    n: int = 256

    @cached_property
    def denoiser(self) -> sf.ExactDenoiser:
        schedule = sf.VP(0.1, 20.0) if self.setting == "vp" else sf.EDM(sigma_max=80.0)
        return sf.ExactDenoiser(family(self.family, self.seed), schedule)

    @cached_property
    def start(self) -> Tensor:
        return start(self.denoiser, self.n, self.seed)

    @cached_property
    def reference(self) -> Tensor:
        file = OUT / f"reference-{self.family}-{self.setting}-{self.seed}-{self.n}.npz"
        if file.exists():
            with np.load(file) as saved:
                if np.array_equal(saved["start"], self.start.numpy()):  # else the family has been changed since
                    return torch.from_numpy(saved["x"])
        x, apart, steps = reference(self.denoiser, self.start)
        OUT.mkdir(exist_ok=True)
        np.savez(file, start=self.start, x=x, apart=apart, steps=steps)
        return x

    def errors(self, x: Tensor) -> tuple[float, float, int]:
        """RMS and median of the first len(x) samples' distances to the reference, over its root mean square; strays."""
        apart = relative_distance(x, self.reference[: len(x)])
        return float(apart.square().mean().sqrt()), float(apart.median()), int((apart > ASTRAY).sum())


def start(denoiser: sf.ExactDenoiser, n: int, seed: int) -> Tensor:
    """x_T `(n, D)` from the exact law at t = 1, float64."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    alpha, sigma = denoiser.schedule(1.0)
    x0 = denoiser.distribution.sample(n, generator=generator)
    return alpha * x0 + sigma * torch.randn(x0.shape, dtype=x0.dtype, generator=generator)


def relative_distance(x: Tensor, reference: Tensor) -> Tensor:
    """|x - reference| of each sample over the root mean square of |reference|, `(n,)`; 1 where x is not finite."""
    apart = (x.double() - reference).norm(dim=1) / reference.square().sum(1).mean().sqrt()
    return torch.where(torch.isfinite(apart), apart, 1.0)


def reference(denoiser: sf.ExactDenoiser, x: Tensor, steps: int = 200) -> tuple[Tensor, Tensor, int]:
    """(x at t = 0, each sample's relative change when the steps were last halved, steps).

    Raises:
        ValueError: if more than a thousandth of the samples still move by more than 1e-6 with 12,800 steps.
    """
    coarse = _runge_kutta(denoiser, x, steps)
    while steps <= 6400:
        steps *= 2
        fine = _runge_kutta(denoiser, x, steps)
        apart = relative_distance(coarse, fine)
        if float((apart < TOLERANCE).double().mean()) > SETTLED:
            return fine, apart, steps
        coarse = fine
    raise ValueError(
        f"the reference must settle; {int(torch.ge(apart, TOLERANCE).sum())} of {len(x)} samples still move"
    )


@torch.no_grad()
def _runge_kutta(denoiser: sf.ExactDenoiser, x: Tensor, steps: int) -> Tensor:
    sd, law = denoiser.data_std, denoiser.distribution
    alpha, sigma = (float(v) for v in denoiser.schedule(1.0))
    last = math.atan(sigma / (alpha * sd))
    nodes = last * np.linspace(1, 0, 2 * steps + 1) ** 3  # every step's ends and middle

    def rate(z: Tensor, at: int) -> Tensor:  # dz/dr; the middle of a step is its middle in r
        theta, r = nodes[at], 1 - at / (2 * steps)
        score = law.score_at(z, math.cos(theta) / sd, math.sin(theta))
        return -math.tan(theta) * 3 * last * r**2 * (z + score)

    z, h = x / math.hypot(alpha * sd, sigma), -1 / steps
    for i in range(0, 2 * steps, 2):
        a = rate(z, i)
        b = rate(z + h / 2 * a, i + 1)
        c = rate(z + h / 2 * b, i + 1)
        d = rate(z + h * c, i + 2)
        z = z + h / 6 * (a + 2 * b + 2 * c + d)
    return sd * z
