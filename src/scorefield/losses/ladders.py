"""A ladder of noise from the data, by the rules of NCSNv2 (Song & Ermon 2020, "Improved techniques").

    largest    sigma_1 = the largest distance between two data: every mode is then reached from every other
    ratio      g = sigma_(i-1) / sigma_i with  Phi(sqrt(2 D) (g - 1) + 3 g) - Phi(sqrt(2 D) (g - 1) - 3 g) = 1/2:
               |x| at level i ~ N(sqrt(D) sigma_i, sigma_i^2 / 2), so half of it lies where level i - 1 was learned
    step       e = alpha_i / sigma_i^2 brings the variance that a level inherits, g^2 of its own, nearest to 1:

               (1 - e)^(2 T) (g^2 - v) + v,    v = 2 e / (1 - (1 - e)^2) = 2 / (2 - e),    after T steps
    end        one denoising step, E[x0 | x]

and sample with averaged weights (`fit`'s ema_decay).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy import optimize, stats
from torch import Tensor

from scorefield.losses.times import Ladder
from scorefield.schedules import Schedule
from scorefield.solvers.sde import AnnealedLangevin

DATA = 5000  # looked at for the largest distance
OVERLAP = 0.5


class NoiseLadder(NamedTuple):
    """Noise ratios sigma / alpha, falling, and how long to stay at each."""

    sigmas: Tensor  # (L,) float64
    steps_per_level: int
    step_size: float  # h / sigma^2 = 2 e, that of `AnnealedLangevin`

    @property
    def ratio(self) -> float:
        """sigma_(i-1) / sigma_i."""
        return float(self.sigmas[0] / self.sigmas[1])

    @property
    def solver(self) -> AnnealedLangevin:
        """Langevin steps at each level, and a denoising one at the end."""
        return AnnealedLangevin(steps_per_level=self.steps_per_level, step_size=self.step_size, denoise=True)

    def law(self, schedule: Schedule) -> Ladder:
        """Of t in training: the levels, equally often.

        Raises:
            ValueError: for a schedule that does not reach them.
        """
        return Ladder(self._times(schedule).tolist())

    def grid(self, schedule: Schedule) -> Tensor:
        """Times to sample on, `(L + 1,)`: `sample(denoiser, shape, solver=ladder.solver, times=ladder.grid(schedule))`.

        Raises:
            ValueError: for a schedule that does not reach them.
        """
        return torch.cat([self._times(schedule), torch.zeros(1, dtype=torch.float64, device="cpu")])

    def _times(self, schedule: Schedule) -> Tensor:
        low, high = (float(schedule.noise_ratio(t)) for t in (0.0, 1.0))
        if not (low <= self.sigmas[-1] and self.sigmas[0] <= high * (1 + 1e-9)):
            raise ValueError(
                f"schedule must reach the noise ratios {float(self.sigmas[-1]):g} to {float(self.sigmas[0]):g}; "
                f"it has {low:g} to {high:g}"
            )
        return schedule.time_of_log_snr(-self.sigmas.log()).clamp(0, 1)


def ladder_of(data: Tensor, *, smallest: float | None = None, steps_per_level: int = 5) -> NoiseLadder:
    """The ladder for `data` `(N, *event)`, in the model's units.

    Args:
        data: of which up to 5,000, spread over it, are looked at.
        smallest: sigma_L; a hundredth of the data's standard deviation unless given (the paper's .01 is of pixels in
            [0, 1]).
        steps_per_level: T.

    Raises:
        ValueError: for less than two data or data that are all the same, a smallest noise that is not positive and
            below the largest, or less than one step.
    """
    rows = torch.linspace(0, len(data) - 1, min(len(data), DATA), dtype=torch.float64, device="cpu").round().long()
    x = data[rows.to(data.device)].reshape(len(rows), -1).to(torch.float64)
    if len(x) < 2 or not float(x.std()) > 0:
        raise ValueError(f"data must be at least 2 that differ; got {len(data)}")
    largest = float(torch.cdist(x, x).max())
    smallest = float((x - x.mean(0)).square().mean().sqrt()) / 100 if smallest is None else smallest
    if not 0 < smallest < largest or steps_per_level < 1:
        raise ValueError(
            f"smallest must lie in (0, {largest:g}) and steps_per_level be at least 1; "
            f"got {smallest:g} and {steps_per_level}"
        )
    levels = max(2, 1 + math.ceil(math.log(largest / smallest) / math.log(geometric_ratio(x.shape[1]))))
    log_s = torch.linspace(math.log(largest), math.log(smallest), levels, dtype=torch.float64, device="cpu")
    ratio = math.exp(float(log_s[0] - log_s[1]))
    return NoiseLadder(log_s.exp(), steps_per_level, 2 * langevin_step(ratio, steps_per_level))


def geometric_ratio(dims: int) -> float:
    """g for events of `dims` entries.

    Raises:
        ValueError: for less than one.
    """
    if dims < 1:
        raise ValueError(f"dims must be at least 1; got {dims}")

    def overlap(g: float) -> float:
        centre = math.sqrt(2 * dims) * (g - 1)
        return float(stats.norm.cdf(centre + 3 * g) - stats.norm.cdf(centre - 3 * g)) - OVERLAP

    high = 2.0
    while overlap(high) > 0 and high < 1e6:  # in few dimensions three deviations hold half of it at any ratio
        high *= 2
    return high if overlap(high) > 0 else float(optimize.brentq(overlap, 1.0, high))  # type: ignore[arg-type]


def langevin_step(ratio: float, steps: int) -> float:
    """e = alpha / sigma^2 for which a level's variance comes nearest to its own after so many steps.

    Raises:
        ValueError: for a ratio that is not above 1, or less than one step.
    """
    if not ratio > 1 or steps < 1:
        raise ValueError(f"ratio must exceed 1 and steps be at least 1; got {ratio:g} and {steps}")
    found = optimize.minimize_scalar(
        lambda e: variance_after(e, ratio, steps), bounds=(1e-8, 1.0), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.x)  # type: ignore[union-attr]


def variance_after(e: float, ratio: float, steps: int) -> float:
    """Of N(0, sigma^2) data's noise at a level, over sigma^2, after `steps` Langevin steps from ratio^2."""
    end = 2 / (2 - e)
    return (1 - e) ** (2 * steps) * (ratio**2 - end) + end
