"""The pictures of `scorefield demo schedules`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from scorefield import distributions, plots
from scorefield.plots.style import INK, MUTED, axes_of_curves
from scorefield.schedules import EDM, VE, VP, Brownian, Cosine, Rectified, Schedule, SubVP, VEPower

#: Each process with a noise scale that leaves two modes at -1 and 1 visible on the way.
PROCESSES: dict[str, Schedule] = {
    "Brownian(1.5)": Brownian(1.5),
    "VE(0.05, 5)": VE(0.05, 5.0),
    "VEPower(8)": VEPower(8.0),
    "EDM(sigma_max=5)": EDM(sigma_max=5.0),
    "VP()": VP(),
    "SubVP()": SubVP(),
    "Cosine()": Cosine(),
    "Rectified()": Rectified(),
}
MODES, WIDTH = (-1.0, 1.0), 0.15  # of the one-dimensional data


def pictures(*, seed: int) -> dict[str, Callable[[Path], Path]]:
    """Functions that write each picture to a path."""
    return {
        "brownian.png": lambda path: brownian(path, seed),
        "forward-paths.png": lambda path: forward_paths(path, seed),
        "forward-filmstrip.png": lambda path: forward_filmstrip(path, seed),
        "schedules.png": schedules,
    }


def brownian(path: Path, seed: int) -> Path:
    """Eight trajectories of dx = dw from the origin, and the standard deviation sqrt(t) they spread with."""
    times = torch.linspace(0, 1, 601, dtype=torch.float64)[1:]
    paths = Brownian(1.0).simulate(torch.zeros(8, 1, dtype=torch.float64), times, generator=_generator(seed))[..., 0]
    t = np.concatenate([[0.0], times.numpy()])
    fig = plots.figure(8, 3.8)
    ax = fig.add_subplot()
    for k, opacity in ((1, 0.16), (2, 0.10)):
        ax.fill_between(
            t, -k * np.sqrt(t), k * np.sqrt(t), color=plots.COLORS["data"], alpha=opacity, linewidth=0, label=f"±{k} √t"
        )
    colors = plots.curves_colors(8)
    for j in range(8):
        ax.plot(t, np.concatenate([[0.0], paths[:, j].numpy()]), linewidth=1.0, color=colors[j])
    axes_of_curves(ax, x="t", y="w(t)", title="eight Brownian trajectories, and the spread √t of their law")
    ax.set_xlim(0, 1)
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    return plots.save(fig, path)


def forward_paths(path: Path, seed: int) -> Path:
    """Eight paths of each forward process, over the exact density p_t of data with two modes."""
    times = torch.linspace(0, 1, 241, dtype=torch.float64)[1:]
    generator = _generator(seed)
    modes = torch.tensor(MODES, dtype=torch.float64).repeat(4)[:, None]
    start = modes + WIDTH * torch.randn(8, 1, dtype=torch.float64, generator=generator)
    fig = plots.figure(12, 5.4)
    for ax, (name, schedule) in zip(fig.subplots(2, 4).flat, PROCESSES.items(), strict=True):
        paths = torch.cat([start[None], schedule.simulate(start, times, generator=generator)])[..., 0].numpy()
        t = np.concatenate([[0.0], times.numpy()])
        alpha, sigma = (v.numpy() for v in schedule(torch.from_numpy(t)))
        half = max(2.0, 2.8 * float(np.hypot(alpha[-1], sigma[-1])))
        x = np.linspace(-half, half, 240)
        spread = np.hypot(alpha * WIDTH, sigma)
        z = (x[:, None, None] - alpha[:, None] * np.array(MODES)) / spread[:, None]
        p = np.exp(-0.5 * z**2).sum(-1) / spread
        ax.pcolormesh(t, x, p / p.max(0), cmap=plots.DENSITY, vmin=0, vmax=1.4, shading="gouraud", rasterized=True)
        for j in range(8):
            color = plots.COLORS["second"] if j % 2 else plots.COLORS["data"]
            ax.plot(t, paths[:, j], linewidth=0.8, color=color, alpha=0.9)
        ax.set_ylim(-half, half)
        ax.set_title(name, fontsize=10, color=INK)
        ax.tick_params(colors=MUTED, labelsize=8)
        ax.set_xticks([0, 0.5, 1])
        for spine in ax.spines.values():
            spine.set_color("#d1d5db")
    fig.supxlabel("t   (0 = data, 1 = noise)", fontsize=10, color=INK)
    fig.supylabel("$x_t$", fontsize=10, color=INK)
    return plots.save(fig, path)


def forward_filmstrip(path: Path, seed: int) -> Path:
    """Eight clusters under five processes: each particle keeps the colour of the cluster it came from."""
    data = distributions.eight_gaussians()
    x0 = data.sample(800, generator=_generator(seed)).double()
    x0 = x0 / x0.std()
    cluster = (torch.atan2(x0[:, 1], x0[:, 0]) / (2 * torch.pi) * 8).round().long() % 8
    eps = torch.randn(x0.shape, dtype=x0.dtype, generator=_generator(seed + 1))
    shown = {
        "VP": VP(),
        "SubVP": SubVP(),
        "Cosine": Cosine(),
        "Rectified": Rectified(),
        "VE, σ ≤ 3": VE(0.01, 3.0),
        "EDM, σ ≤ 3": EDM(sigma_max=3.0),
    }
    times = (0.0, 0.15, 0.3, 0.5, 0.7, 1.0)
    fig = plots.figure(1.5 * len(times) + 0.8, 1.5 * len(shown) + 0.4)
    colors = np.array(plots.curves_colors(8))[cluster.numpy()]
    for row, (name, schedule) in zip(fig.subplots(len(shown), len(times)), shown.items(), strict=True):
        half = 3.2 * max(1.0, float(torch.hypot(*schedule(1.0))) / 1.25)
        for ax, t in zip(row, times, strict=True):
            x = schedule.perturb(x0, t, eps)
            ax.scatter(*x.T.numpy(), s=3.0, c=colors, linewidths=0, alpha=0.8)
            plots.square(ax, half)
            plots.clean(ax, frame=True)
            alpha, sigma = schedule(t)
            ax.set_title(f"α {float(alpha):.2f}   σ {float(sigma):.2f}", fontsize=7.5, color=MUTED, pad=3)
        row[0].set_ylabel(name, fontsize=10, color=INK)
    for ax, t in zip(fig.axes[-len(times) :], times, strict=True):
        ax.set_xlabel(f"t = {t:g}", fontsize=9, color=INK)
    return plots.save(fig, path, dpi=100)


def schedules(path: Path) -> Path:
    """alpha, sigma and lambda = log(alpha / sigma) of each process."""
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    inside = t[1:-1]
    fig = plots.figure(12, 3.6)
    left, middle, right = fig.subplots(1, 3)
    colors = plots.curves_colors(len(PROCESSES))
    for color, (name, schedule) in zip(colors, PROCESSES.items(), strict=True):
        alpha, sigma = schedule(t)
        left.plot(t, alpha, color=color, linewidth=1.6, label=name)
        middle.plot(t, sigma, color=color, linewidth=1.6)
        right.plot(inside, schedule.log_snr(inside), color=color, linewidth=1.6)
    axes_of_curves(left, x="t", title="signal scale α(t)")
    axes_of_curves(middle, x="t", title="noise scale σ(t)")
    axes_of_curves(right, x="t", title="half log-SNR  λ(t) = log(α / σ)")
    right.set_ylim(-6, 6)
    fig.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=8)
    return plots.save(fig, path)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
