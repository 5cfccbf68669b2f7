"""A multistep method whose grid and rows of numbers belong to one model: what `sampling.tune` finds.

On the circle z = cos(theta) x0 / sd + sin(theta) eps, theta = atan(sigma / (alpha sd)), sd = data_std, the probability
flow is dz/du = F with F = (pi / 2) (cos(theta) eps - sin(theta) x0 / sd), u = 2 theta / pi. Every linear multistep
method is there

    z_s = r_0 z_t + r_1 F_t + r_2 F_-1 + ...,

Adams-Bashforth's with r_0 = 1 and the weights of a polynomial, these with the numbers that come closest to the model's
own fine trajectories. In x, where z = scale x and F = p x + q D, the row is

    x_s = (r_0 scale_t / scale_s) x_t + (1 / scale_s) (r_1 F_t + r_2 F_-1 + ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import Cosine
from scorefield.solvers.base import Coordinate, Solver, finite
from scorefield.solvers.multistep import RowSolver, rows

CIRCLE = Cosine(0.0)


@dataclass(frozen=True)
class Tuned(RowSolver):
    """z_s = r_0 z_t + sum_j r_j F_j on the circle z = cos(theta) x0 / sd + sin(theta) eps, F = dz/du, u = 2 theta / pi.

    z is taken about the data's mean, as `multistep.rows` does. Neither the circle nor the noise ratios know the
    schedule, so the method is that of the model under every reading.

    Args:
        ratios: sigma / (alpha data_std) at the N + 1 nodes, falling to 0.
        rows: N of them, (r_0, r_1, ...): of z, of the field at this node, and of those before it.

    Raises:
        ValueError: for ratios that do not fall to 0 in as many steps as there are rows, or a row that reads more fields
            than there are; in sampling, for another grid or another number of evaluations.
    """

    ratios: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.ratios, self.ratios[1:], strict=False))
        if len(self.rows) < 1 or len(self.ratios) != len(self.rows) + 1 or not falls or self.ratios[-1] != 0:
            raise ValueError(
                f"Tuned: ratios must fall to 0, one more of them than rows; got {self.ratios} and {len(self.rows)} rows"
            )
        if any(not 2 <= len(row) <= i + 2 for i, row in enumerate(self.rows)):
            raise ValueError("Tuned: row i must hold 2 to i + 2 numbers: of z and of the fields there are")

    @property
    def memory(self) -> int:
        return max(len(row) for row in self.rows) - 1

    def grid(self, denoiser: Denoiser) -> Tensor:
        """Its times `(N + 1,)` on the denoiser's schedule."""
        s = torch.tensor(self.ratios, dtype=torch.float64, device="cpu") * denoiser.data_std
        times = denoiser.schedule.time_of_log_snr(-torch.log(s))
        times[-1] = 0.0
        return times

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        if nfe is not None and nfe != len(self.rows):
            raise ValueError(f"nfe must be {len(self.rows)}, what this method was tuned for; got {nfe}")
        return self, self.grid(denoiser)

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        times = torch.cat([t, s[-1:]])
        own = self.grid(denoiser)
        if times.shape != own.shape or not bool(torch.isclose(times, own, rtol=1e-9, atol=1e-12).all()):
            raise ValueError("Tuned: times must be the grid it was tuned on, Tuned.grid(denoiser); leave them out")
        at = Coordinate.of(CIRCLE, denoiser, times)
        of_x, of_x0 = at.slope(denoiser)
        n, width = len(self.rows), max(len(row) for row in self.rows)
        of_z = torch.zeros(n, width, dtype=torch.float64, device="cpu")
        for i, row in enumerate(self.rows):
            of_z[i, : len(row)] = torch.tensor(row, dtype=torch.float64, device="cpu")
        keep = of_z[:, 0] * at.scale[:-1] / at.scale[1:]
        finite(self, t, x=keep)
        return rows(denoiser, times, of_x[:-1], of_x0[:-1], keep, of_z[:, 1:] / at.scale[1:, None], 0 * keep)
