"""Few steps in pictures: what a coupling and reflow do to the paths of a flow, where one jump of a flow map lands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor

from scorefield.auditing import straightness
from scorefield.denoisers import ExactDenoiser, Flow
from scorefield.distributions import eight_gaussians
from scorefield.flowmaps import FlowMap, lagrangian
from scorefield.losses import UniformAngle, couplings
from scorefield.metrics import sliced_wasserstein
from scorefield.networks import MLP
from scorefield.parameterizations import EDMPreconditioning
from scorefield.plots.style import COLORS, INK, clean, figure, save
from scorefield.sampling import sample
from scorefield.schedules import EDM
from scorefield.solvers import Euler
from scorefield.training import Reflow, fit

SHOWN, JUDGED = 120, 4000  # paths drawn, and measured
DATA = 8000


def pictures(*, seed: int = 0, steps: int = 1200) -> dict[str, Callable[[Path], object]]:
    """The pictures by file name, each a function of its path."""
    return {
        "few-step-paths.png": lambda path: save(paths(seed, steps), path),
        "one-jump.png": lambda path: save(jump(seed, steps), path),
    }


def paths(seed: int, steps: int) -> Any:
    """The same noise carried by three flows: independent pairs, assigned pairs, and the first one's reflow."""
    data, options = _data(seed), {"batch_size": 256, "lr": 3e-3, "ema_decay": 0.99, "seed": seed, "steps": steps}

    def trained(coupling: couplings.Coupling) -> Flow:
        torch.manual_seed(seed)
        return fit(Flow(MLP(2, 64, 3)), data, coupling=coupling, **options).denoiser

    independent = trained(couplings.Independent())
    flows = {
        "independent pairs": independent,
        "assigned pairs": trained(couplings.Assignment(size=1024, reuse=25)),
        "reflow of the first": trained(Reflow(size=2048, reuse=50, teacher=independent, nfe=20)),
    }
    fig = figure(12, 4.9)
    for ax, (name, flow) in zip(fig.subplots(1, 3), flows.items(), strict=True):
        path = sample(flow, (JUDGED, 2), solver=Euler(), times=torch.linspace(1, 0, 41), trajectory=True, seed=seed)
        assert path.trajectory is not None
        assert path.times is not None
        few = {n: sliced_wasserstein(sample(flow, (JUDGED, 2), nfe=n, seed=seed).x, data[:JUDGED]) for n in (1, 4)}
        lines = path.trajectory[:, :SHOWN].transpose(0, 1).numpy()
        ax.add_collection(LineCollection(list(lines), colors=COLORS["first"], linewidths=0.5, alpha=0.5))
        _points(ax, path.trajectory[0, :SHOWN], COLORS["truth"])
        _points(ax, path.trajectory[-1, :SHOWN], COLORS["second"])
        _frame(ax)
        bent = straightness(path.trajectory, path.times)
        numbers = f"bent by {bent:.2g}; sliced W2 {few[1]:.2g} in 1 evaluation, {few[4]:.2g} in 4"
        ax.set_title(f"{name}\n{numbers}", fontsize=9, color=INK)
    return fig


def jump(seed: int, steps: int) -> Any:
    """One jump from noise to data beside the ODE it stands for, and how far apart they land."""
    law, schedule, data = eight_gaussians(), EDM(sigma_max=20.0), _data(seed)
    teacher, sd = ExactDenoiser(law, schedule), float(data.std())
    torch.manual_seed(seed)
    net = MLP(2, 128, 3, conditioning="add", scalars=("until",))
    flow_map = fit(
        FlowMap(net, schedule, EDMPreconditioning(sd), data_mean=0.0, data_std=sd),
        data,
        loss=functools.partial(lagrangian, teacher=teacher),
        times=UniformAngle(schedule, sd),
        batch_size=256, lr=2e-3, ema_decay=0.99, seed=seed, steps=steps,
    ).denoiser  # fmt: skip
    fig = figure(12, 4.9)
    left, middle, right = fig.subplots(1, 3)
    std = float(flow_map.prior(1.0).std)
    lines = torch.linspace(-2, 2, 17)
    start = std * torch.cartesian_prod(lines, lines)
    landed, end = sample(flow_map, start, nfe=1).x, sample(teacher, start, nfe=60).x
    for ax, to, name in ((left, landed, "one jump"), (middle, end, "the ODE, 60 evaluations")):
        z = start / std
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.002}
        ax.quiver(*z.T, *(to - z).T, **arrows, color=COLORS["first"], alpha=0.6)
        _points(ax, to, COLORS["second"])
        _frame(ax)
        ax.set_title(f"{name}\nfrom noise, in units of its std, to data", fontsize=9, color=INK)
    apart = (landed - end).norm(dim=1)
    spots = right.scatter(*(start / std).T, c=apart, s=26, cmap="magma_r", vmin=0)
    fig.colorbar(spots, ax=right, shrink=0.8).set_label("distance between the two", fontsize=8)
    _frame(right)
    rms = float(apart.square().mean().sqrt())
    right.set_title(f"by where they began: how far apart they land\nrms {rms:.2g}", fontsize=9, color=INK)
    return fig


def _data(seed: int) -> Tensor:
    return eight_gaussians().sample(DATA, generator=torch.Generator().manual_seed(seed)).float()


def _points(ax: Axes, x: Tensor, color: str) -> None:
    ax.scatter(*x.T, s=7, color=color, linewidths=0, zorder=3)


def _frame(ax: Axes) -> None:
    clean(ax, frame=True)
    ax.set_xlim(-3, 3)
    ax.set_ylim(-3, 3)
    ax.set_aspect("equal")
