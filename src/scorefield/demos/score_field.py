"""The pictures of `scorefield demo score-field`: exact fields of a law in the plane, and particles that follow them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.quiver import Quiver
from torch import Tensor

from scorefield import grids, plots
from scorefield.catalogue import SHAPES, make
from scorefield.denoisers import ExactDenoiser, score
from scorefield.distributions import Distribution, GaussianMixture
from scorefield.plots.style import INK, MUTED
from scorefield.sampling import sample
from scorefield.schedules import VE, VP
from scorefield.solvers import DDIM, DDPM, AnnealedLangevin, Solver
from scorefield.solvers.langevin import ula

ARROWS, SHADES = 19, 90  # lattice points a side
STEPS = 96
HIGHLIGHTED, TAIL = 5, 14  # particles with a trail; its length in the animation


def pictures(distribution: str, *, seed: int, quick: bool = False) -> dict[str, Callable[[Path], Path]]:
    """Functions that write each picture to a path; `quick` draws the same with fewer frames and particles."""
    law: Distribution = make("distribution", distribution, SHAPES)
    frames = 12 if quick else 64
    return {
        "score-field.png": lambda path: field(path, law, seed),
        "score-field.gif": lambda path: field_moving(path, law, seed, frames),
        "ddpm-ddim.png": lambda path: ddpm_ddim(path, law, seed),
        "ddpm-ddim.gif": lambda path: ddpm_ddim_moving(path, law, seed, frames),
        "low-density.png": lambda path: low_density(path, seed, chains=500 if quick else 4000),
    }


def field(path: Path, law: Distribution, seed: int) -> Path:
    """The score of p_t at four noise levels, with the particles of one annealed Langevin run as it passes them."""
    denoiser, half, times = _annealed(law, STEPS)
    run = sample(denoiser, (600, 2), solver=AnnealedLangevin(2, denoise=False), times=times, seed=seed, trajectory=True)
    assert run.trajectory is not None
    sigmas = denoiser.schedule.sigma(times)
    fig = plots.figure(12, 3.5)
    spread = float(law.variance.mean().sqrt())
    for ax, ratio in zip(fig.subplots(1, 4), (1.2, 0.5, 0.2, 0.06), strict=True):
        i = int((sigmas - ratio * spread).abs().argmin())
        _background(ax, denoiser, times[i], half)
        _arrows(ax, denoiser, times[i], half)
        # the state after visiting level i: what the level's field has made of the particles
        plots.particles(ax, run.trajectory[i + 1], color=plots.COLORS["second"], size=5, alpha=0.8)
        ax.set_title(f"σ = {float(sigmas[i]):.2f}", fontsize=11, color=INK)
    return plots.save(fig, path)


def field_moving(path: Path, law: Distribution, seed: int, frames: int) -> Path:
    """The annealed run, moving: the noise level falls and the field sharpens under the particles."""
    denoiser, half, times = _annealed(law, frames)
    run = sample(denoiser, (300, 2), solver=AnnealedLangevin(3, denoise=False), times=times, seed=seed, trajectory=True)
    assert run.trajectory is not None
    sigmas = denoiser.schedule.sigma(times)
    fig = plots.figure(5.2, 5.5)
    ax = fig.add_subplot()
    lattice = torch.from_numpy(plots.mesh(half, SHADES)).float()
    arrows_at = torch.from_numpy(plots.mesh(half, ARROWS)).float()
    shade = _background(ax, denoiser, times[0], half, levels=plots.GIF_LEVELS)
    arrows = _arrows(ax, denoiser, times[0], half)
    dots = plots.particles(ax, run.trajectory[0], color=plots.COLORS["second"], size=6, alpha=0.9)
    title = ax.set_title(" ", fontsize=11, color=INK)

    def draw(i: int) -> None:
        level = times[min(i // 4 * 4, frames - 1)]  # the background every fourth frame: a still one costs nothing
        if i % 4 == 0:
            shade.set_array(_shades(denoiser, lattice, level))
            u = plots.arrows(score(denoiser, arrows_at, level), half)
            arrows.set_UVC(*u.T)
        dots.set_offsets(run.trajectory[min(i + 1, frames)].numpy())  # type: ignore[index]
        title.set_text(f"annealed Langevin   σ = {float(sigmas[min(i, frames - 1)]):.2f}")

    return plots.save_gif(fig, draw, frames, path, colors=[plots.COLORS["second"]])


def ddpm_ddim(path: Path, law: Distribution, seed: int) -> Path:
    """DDPM above, DDIM below, from the same noise: five moments, with the paths of a few particles."""
    denoiser, half, times = _diffusion(law)
    shown = (0, 24, 44, 60, STEPS)
    fig = plots.figure(12, 5.3)
    for row, (name, solver, color) in zip(fig.subplots(2, len(shown)), _PAIR, strict=True):
        path_of = _trajectory(denoiser, solver, times, 600, seed)
        for ax, i in zip(row, shown, strict=True):
            _background(ax, denoiser, times[i], half)
            plots.particles(ax, path_of[i], color=color, size=4, alpha=0.5)
            plots.trails(ax, path_of[: i + 1, :HIGHLIGHTED], color=INK, width=0.7, alpha=0.7)
            plots.particles(ax, path_of[i, :HIGHLIGHTED], color=INK, size=12, alpha=1)
            if name == _PAIR[0][0]:
                ratio = float(denoiser.schedule.noise_ratio(times[i]))
                ax.set_title(f"t = {float(times[i]):.2f}   σ/α = {ratio:.2f}", fontsize=10, color=INK)
        row[0].set_ylabel(name, fontsize=11, color=INK)
    return plots.save(fig, path)


def ddpm_ddim_moving(path: Path, law: Distribution, seed: int, frames: int) -> Path:
    """The same two runs, side by side and moving."""
    denoiser, half, times = _diffusion(law, frames)
    fig = plots.figure(9.4, 5.1)
    lattice = torch.from_numpy(plots.mesh(half, SHADES)).float()
    panels = []
    for ax, (name, solver, color) in zip(fig.subplots(1, 2), _PAIR, strict=True):
        run = _trajectory(denoiser, solver, times, 250, seed)
        shade = _background(ax, denoiser, times[0], half, levels=plots.GIF_LEVELS)
        dots = plots.particles(ax, run[0], color=color, size=7, alpha=0.8)
        lines = plots.trails(ax, run[:1, :HIGHLIGHTED], color=INK, width=0.8, alpha=0.8)
        heads = plots.particles(ax, run[0, :HIGHLIGHTED], color=INK, size=14, alpha=1)
        ax.set_title(name, fontsize=11, color=INK)
        panels.append((run.numpy(), shade, dots, lines, heads))
    ratios = denoiser.schedule.noise_ratio(times)
    title = fig.suptitle(" ", fontsize=10, color=MUTED)

    def draw(i: int) -> None:
        title.set_text(f"σ/α = {float(ratios[i]):.2f}")
        for run, shade, dots, lines, heads in panels:
            if i % 4 == 0 or i == len(times) - 1:
                shade.set_array(_shades(denoiser, lattice, times[i]))
            dots.set_offsets(run[i])
            heads.set_offsets(run[i, :HIGHLIGHTED])
            lines.set_segments(list(run[max(0, i - TAIL) : i + 1, :HIGHLIGHTED].swapaxes(0, 1)))

    return plots.save_gif(fig, draw, len(times), path, colors=[color for _, _, color in _PAIR])


class ModeWeights(NamedTuple):
    """Shares of the samples in each mode, `(8,)` each."""

    truth: np.ndarray
    plain: np.ndarray
    annealed: np.ndarray


class _LowDensity(NamedTuple):
    law: GaussianMixture
    half: float
    clouds: dict[str, Tensor]
    weights: ModeWeights


def mode_weights(*, seed: int, chains: int, steps: int) -> ModeWeights:
    """What plain and annealed Langevin make of eight separated modes of unequal weights, both with the exact score."""
    return _low_density(seed, chains, steps).weights


def low_density(path: Path, seed: int, *, chains: int = 4000, steps: int = 1000) -> Path:
    """Eight separated modes of unequal weights: plain Langevin against annealed Langevin.

    Between the modes p is next to nothing, so a plain chain never crosses: each mode keeps the share of starting points
    that fell in its basin, whatever its weight (Song & Ermon 2019, section 3.2.2).
    """
    law, half, clouds, weights = _low_density(seed, chains, steps)
    colors = [plots.COLORS[c] for c in ("truth", "wrong", "repaired")]
    fig = plots.figure(12, 6.2)
    layout = fig.add_gridspec(2, 3, height_ratios=[1.25, 1])
    denoiser = ExactDenoiser(law, VE())
    for column, ((name, x), color) in enumerate(zip(clouds.items(), colors, strict=True)):
        ax = fig.add_subplot(layout[0, column])
        _background(ax, denoiser, torch.tensor(0.0), half)
        plots.particles(ax, x[:1500], color=color, size=3, alpha=0.5)
        for k, mean in enumerate(law.means.double().numpy()):
            ax.annotate(str(k + 1), mean * 1.34, ha="center", va="center", fontsize=9, color=MUTED)
        ax.set_title(name, fontsize=11, color=INK)
    ax = fig.add_subplot(layout[1, :])
    groups = {"true weights": weights.truth, "plain Langevin": weights.plain, "annealed Langevin": weights.annealed}
    plots.bars(ax, groups, colors, x_label="mode", y_label="share of the samples")
    plain, annealed = (0.5 * np.abs(share - weights.truth).sum() for share in (weights.plain, weights.annealed))
    ax.set_title(
        f"total variation from the true weights: plain {plain:.3f}, annealed {annealed:.3f}", fontsize=10, color=MUTED
    )
    return plots.save(fig, path)


def _low_density(seed: int, chains: int, steps: int, levels: int = 60) -> _LowDensity:
    weights = torch.arange(1.0, 9.0) / 36
    law: GaussianMixture = make("distribution", "eight-gaussians", SHAPES, weights=weights)
    denoiser, half, times = _annealed(law, levels)
    start = float(law.variance.mean().sqrt()) * torch.randn(chains, 2, generator=torch.Generator().manual_seed(seed))
    width = float(law.covariances[0, 0, 0])  # the variance of a mode
    per_level = max(1, steps // levels)
    solver = AnnealedLangevin(per_level)
    clouds = {
        "exact samples": law.sample(chains, generator=torch.Generator().manual_seed(seed + 1)),
        f"plain Langevin, {steps} steps": ula(law.score, start, steps=steps, step_size=0.2 * width, seed=seed).x,
        f"annealed Langevin, {per_level * levels} steps": sample(
            denoiser, (chains, 2), solver=solver, times=times, seed=seed
        ).x,
    }
    _, plain, annealed = (_shares(x, law.means) for x in clouds.values())
    return _LowDensity(law, half, clouds, ModeWeights(weights.numpy(), plain, annealed))


def _shares(x: Tensor, means: Tensor) -> np.ndarray:
    nearest = torch.cdist(x.double(), means.double()).argmin(1)
    return np.bincount(nearest.numpy(), minlength=len(means)) / len(x)


_PAIR: tuple[tuple[str, Solver, str], ...] = (
    ("DDPM", DDPM(), plots.COLORS["stochastic"]),
    ("DDIM", DDIM(), plots.COLORS["deterministic"]),
)


def _annealed(law: Distribution, levels: int) -> tuple[ExactDenoiser, float, Tensor]:
    """The law under a variance-exploding process, half the side of the picture, and a geometric ladder of noise."""
    spread = float(law.variance.mean().sqrt())
    denoiser = ExactDenoiser(law.to(torch.float32), VE(0.01 * spread, 1.5 * spread))
    half = plots.limits(law.sample(2000, generator=torch.Generator().manual_seed(0)), 1.25)
    return denoiser, half, grids.uniform_log_snr(denoiser.schedule, levels, s_min=0.05 * spread)


def _diffusion(law: Distribution, steps: int = STEPS) -> tuple[ExactDenoiser, float, Tensor]:
    denoiser = ExactDenoiser(law.to(torch.float32), VP())
    half = plots.limits(law.sample(2000, generator=torch.Generator().manual_seed(0)), 1.3)
    spread = float(law.variance.mean().sqrt())
    # equal steps in log-SNR from where p_t is a Gaussian to the eye: in t, half the frames would show nothing happen
    return denoiser, half, grids.uniform_log_snr(denoiser.schedule, steps, s_max=3 * spread, s_min=0.04 * spread)


def _trajectory(denoiser: ExactDenoiser, solver: Solver, times: Tensor, n: int, seed: int) -> Tensor:
    path = sample(denoiser, (n, 2), solver=solver, times=times, seed=seed, trajectory=True).trajectory
    assert path is not None
    return path


def _shades(denoiser: ExactDenoiser, lattice: Tensor, t: Tensor) -> np.ndarray:
    alpha, sigma = (float(v) for v in denoiser.schedule(t))
    return plots.shades(denoiser.distribution.log_prob_at(lattice.double(), alpha, sigma).exp())


def _background(ax: Axes, denoiser: ExactDenoiser, t: Tensor, half: float, levels: int = 256) -> QuadMesh:
    lattice = torch.from_numpy(plots.mesh(half, SHADES)).float()
    picture = plots.density(ax, _shades(denoiser, lattice, t), half, levels=levels)
    plots.square(ax, half)
    plots.clean(ax, frame=True)
    return picture


def _arrows(ax: Axes, denoiser: ExactDenoiser, t: Tensor, half: float) -> Quiver:
    return plots.quiver(ax, score(denoiser, torch.from_numpy(plots.mesh(half, ARROWS)).float(), t), half)
