"""The audit of a few-step model: what its jumps cost, against the ODE they stand for.

A flow map promises to land where its teacher's ODE would. So it is held to three things: where it lands from the data's
noisings at each level, how its samples of 1, 2, 4 evaluations compare with the data and with the ODE's own, beside the
floor of exact sets of that size, and which modes they lose. On an `ExactDenoiser` the audit is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from scorefield import metrics
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.flowmaps import FlowMap
from scorefield.flowmaps.circle import Circle
from scorefield.metrics.sliced import Floor
from scorefield.randomness import Stream, randn_like
from scorefield.sampling import sample
from scorefield.schedules import pad_right

LOST = 0.1  # of its share: a mode with less is lost
NOISINGS = 512  # data that are noised at each level


class Level(NamedTuple):
    """Of one jump to the data from x_t, at a level of noise."""

    noise_ratio: float  # sigma / alpha over the data's standard deviation
    distance: float  # rms distance to where the teacher's ODE leads, over the data's standard deviation
    spread: float  # of where it leads: what a map that ignored x_t would err


class Budget(NamedTuple):
    """Of samples of so many evaluations."""

    nfe: int
    map: float  # rms distance to the ODE's own samples from the same noise, over the data's standard deviation
    data: float  # sliced W2 to the data, in their standard deviations
    teacher: float  # and to the ODE's samples
    lost: int  # modes with less than LOST of their share
    variation: float  # total variation between the modes' shares and the data's


class Audit(NamedTuple):
    """What `audit` returns."""

    levels: list[Level]
    budgets: list[Budget]
    ode: Budget  # the teacher's own
    floor: Floor  # of `Budget.data`, between disjoint parts of the data of these sizes
    modes: int

    def __str__(self) -> str:
        """Tables, and a sentence before them."""
        worst = max(self.levels, key=lambda level: level.distance)
        lines = [
            f"{'; '.join(self._verdicts())}. A jump errs most from noise {worst.noise_ratio:.3g} times "
            f"the data's spread: by {worst.distance:.3f} of it.",
            "",
            f"{'evaluations':>12} {'map':>8} {'to data':>8} {'to ODE':>8} {'lost':>5} {'TV':>6}",
        ]
        rows = [(str(b.nfe), b) for b in self.budgets] + [(f"ODE, {self.ode.nfe}", self.ode)]
        lines += [
            f"{name:>12} {b.map:8.4f} {b.data:8.4f} {b.teacher:8.4f} {b.lost:5d} {b.variation:6.3f}" for name, b in rows
        ]
        lines += [f"{'floor':>12} {'':8} {self.floor.mean:8.4f} +- {self.floor.std:.4f}, {self.modes} modes", ""]
        lines += [f"{'noise / sd':>12} {'distance':>9} {'spread':>8}"]
        lines += [f"{level.noise_ratio:12.3g} {level.distance:9.4f} {level.spread:8.4f}" for level in self.levels]
        return "\n".join(lines)

    def _verdicts(self) -> list[str]:
        said = []
        for b in self.budgets:
            beside, what = max((self.ode.data, "the ODE's distance to the data"), (self.floor.mean, "the floor"))
            modes = f", {b.lost} of {self.modes} modes lost" if b.lost else ""
            said.append(f"{b.nfe} evaluation{'s' * (b.nfe > 1)}: {b.data / beside:.2f} times {what}{modes}")
        return said


@torch.no_grad()
def audit(
    student: FlowMap,
    teacher: Denoiser,
    x0: Tensor,
    *,
    nfes: Sequence[int] = (1, 2, 4),
    levels: int = 8,
    ode_nfe: int = 60,
    modes: int = 20,
    seed: int = 0,
    cond: Mapping[str, Any] | None = None,
) -> Audit:
    """Holds a flow map to its teacher's ODE.

    Args:
        teacher: whose ODE it stands for, `student.field()` where it had none; of any process.
        x0: held-out data `(N, *event)` in the model's units: N samples are drawn of each.
        nfes: evaluations of the student's samples.
        levels: noise levels, even in the angle.
        ode_nfe: evaluations of each of the teacher's paths.
        modes: cells that the data are put into by k-means, to count what is lost.
        cond: of both, a row for each of x0.

    Raises:
        ValueError: for less than 8 data, no level, or fewer data than modes.
        TypeError: for a student that is no flow map.
    """
    if not isinstance(student, FlowMap):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"student must be a FlowMap; got {type(student).__name__}")
    if len(x0) < 8 or levels < 1 or not 1 <= modes <= len(x0):
        raise ValueError(
            f"at least 8 data, 1 level and 1 to {len(x0)} modes are needed; got {len(x0)}, {levels}, {modes}"
        )
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    sd = student.data_std
    own, its = student.circle, Circle(teacher.schedule, student.data_mean, sd)
    z = randn_like(x0, Stream(seed, torch.arange(len(x0), device=x0.device)))
    start = {c: c.x(z * 1.0, c.place(1.0)) for c in (own, its)}
    with evaluating(student), evaluating(teacher):
        ode = sample(teacher, start[its], nfe=ode_nfe, cond=told).x
        cells = KMeans(modes, n_init="auto", random_state=0).fit(x0.flatten(1).cpu().double().numpy())
        shares = _shares(cells, x0, modes)

        def of(x: Tensor, nfe: int) -> Budget:
            share = _shares(cells, x, modes)
            return Budget(
                nfe,
                _rms(x - ode) / sd,
                metrics.sliced_wasserstein(x, x0) / sd,
                metrics.sliced_wasserstein(x, ode) / sd,
                int((share < LOST * shares).sum()),
                float(np.abs(share - shares).sum() / 2),
            )

        budgets = [of(sample(student, start[own], nfe=nfe, cond=told).x, nfe) for nfe in nfes]
        found, few = [], slice(0, NOISINGS)
        some = told.rows(few)
        for k in range(levels):
            theta = torch.tensor(own.limit * (levels - k) / levels, dtype=torch.float64, device="cpu")
            y = (x0[few] - own.mean(x0)) / sd
            noised = pad_right(torch.cos(theta), y) * y + pad_right(torch.sin(theta), y) * z[few]
            here, there = own.at(theta), its.at(theta)
            landed = student(own.x(noised, here), here.t, 0.0, **some)
            grid = _down(teacher, float(there.t), ode_nfe)
            end = sample(teacher, its.x(noised, there), times=grid, cond=some).x
            spread = _rms(end - end.mean(0)) / sd
            found.append(Level(math.tan(float(theta)), _rms(landed - end) / sd, spread))
    floor = metrics.sliced_wasserstein_floor(x0)
    return Audit(found, budgets, of(ode, ode_nfe), Floor(floor.mean / sd, floor.std / sd), modes)


def _down(teacher: Denoiser, t: float, steps: int) -> Tensor:
    """The default grid's angles from a time of one's own."""
    from scorefield import grids

    s = float(teacher.schedule.noise_ratio(t))
    times = grids.angular(teacher.schedule, steps, scale=2 * teacher.data_std, s_max=s)
    return torch.cat([torch.tensor([t], dtype=torch.float64, device="cpu"), times[1:]])


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _shares(cells: KMeans, x: Tensor, modes: int) -> np.ndarray:
    where = cells.predict(x.flatten(1).cpu().double().nan_to_num().numpy())
    return np.bincount(where, minlength=modes) / max(len(x), 1)


def path_energy(trajectory: Tensor, times: Tensor) -> float:
    """E int |dx/dt|^2 dt of paths `(N + 1, B, *event)` at `times` `(N + 1,)`: at least W2^2 of their ends' laws.

    Of straight paths at constant speed, optimally paired, it is W2^2 (Benamou & Brenier 2000).
    """
    steps = trajectory.diff(dim=0).double().flatten(2).square().sum(2).mean(1).cpu()
    return float((steps / times.diff().abs()).sum())


def straightness(trajectory: Tensor, times: Tensor) -> float:
    """E int |dx/dt - (x_1 - x_0)|^2 dt over times of length 1: 0 for straight paths at constant speed.

    References:
        Liu et al. 2023.
    """
    chord = (trajectory[-1] - trajectory[0]).double() / (times[-1] - times[0]).to(trajectory.device)
    h = times.diff().to(trajectory.device)
    speed = trajectory.diff(dim=0).double() / pad_right(h, trajectory)
    return float(((speed - chord).flatten(2).square().sum(2).mean(1) * h.abs()).sum())
