"""Whether a foreign network is read as it was trained: the denoising loss by noise level, under every reading at once.

A reading is what the network is told (a word of `denoisers.levels`) and what it predicts, with which sign. Of data x0
and noise at a grid of sigma / alpha = s each reading's D gives

    loss(s) = mean |D - x0|^2 / d,    excess(s) = log(loss(s) / linear(s)),    linear(s) = sd^2 s^2 / (sd^2 + s^2),

the last the loss of the best linear denoiser of data of that standard deviation. A trained network read rightly is
below it at every level or near it; one that is read wrongly is above, by much at some. The mean excess over the levels
ranks the readings; one that is not finite ranks last.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import NetworkDenoiser
from scorefield.denoisers.base import evaluating
from scorefield.denoisers.levels import LEVELS
from scorefield.parameterizations import X0, EDMPreconditioning, Eps, Parameterization, Score, V, Velocity
from scorefield.randomness import Noise
from scorefield.schedules import Discrete, floats, pad_right

TARGETS: tuple[Parameterization, ...] = (X0(), Eps(), V(), Velocity(), Score())
BETTER = 0.05  # of the mean excess: a reading that much better than the guess is said to be the likely one
RATIOS = (0.05, 20.0)  # the noise ratios looked at, where the schedule reaches them


@dataclass(frozen=True)
class Reading:
    """One way to read a network, and what came of it."""

    level: str
    target: Parameterization
    sign: int  # of the target: -1 where the output is minus it
    losses: tuple[float, ...]
    excess: float  # mean over the levels

    def __str__(self) -> str:
        return f"told {self.level}, predicts {'-' * (self.sign < 0)}{type(self.target).__name__}"


@dataclass(frozen=True)
class Readings:
    """`found`, best first; `guess` is the one that was asked about."""

    guess: Reading
    found: tuple[Reading, ...]
    ratios: tuple[float, ...]  # sigma / alpha of the losses
    mean: float  # of the data
    std: float

    @property
    def likely(self) -> Reading:
        """The guess, or the best where that is better by more than noise makes it."""
        return self.found[0] if self.found[0].excess < self.guess.excess - BETTER else self.guess

    @property
    def right(self) -> bool:
        """Whether no other reading explains the network better than the guess."""
        return self.likely is self.guess

    def __str__(self) -> str:
        head = f"data: mean {self.mean:.3g}, std {self.std:.3g}; denoising loss at sigma / alpha = "
        lines = [head + ", ".join(f"{s:.3g}" for s in self.ratios)]
        shown = [self.guess, *(r for r in self.found[:3] if r is not self.guess)]
        lines += [f"  {r}: {', '.join(f'{v:.3g}' for v in r.losses)} (excess {r.excess:+.2f})" for r in shown]
        if not self.right:
            lines.append(f"this reading is likely wrong: {self.likely} fits better")
        return "\n".join(lines)


@torch.no_grad()
def measure(denoiser: NetworkDenoiser, x0: Tensor, *, levels: int = 6, seed: int = 0, **cond: Any) -> Readings:
    """The denoising loss of `x0` `(B, *event)`, in the model's units, under the denoiser's reading and all others.

    Args:
        levels: noise levels, even in log(sigma / alpha).
        cond: of the network, each datum's own.

    Raises:
        ValueError: for fewer than two data, or data that do not vary.
    """
    if len(x0) < 2 or not float(x0.std()) > 0:
        raise ValueError(f"measuring needs data, two at least, that vary; got {len(x0)}")
    schedule, std = denoiser.schedule, float(x0.double().std())
    low, high = (float(schedule.noise_ratio(t)) for t in (1e-3, 1 - 1e-3))
    span = max(low, RATIOS[0] * std), min(high, RATIOS[1] * std)
    s = torch.logspace(math.log10(span[0]), math.log10(span[1]), levels, dtype=torch.float64, device="cpu")
    times = schedule.time_of_log_snr(-torch.log(s))
    linear = std**2 * s**2 / (std**2 + s**2)
    eps = Noise(seed, torch.arange(len(x0), device=x0.device), tuple(x0.shape[1:]), x0.dtype).normal(0)
    found: list[Reading] = []
    with evaluating(denoiser):
        for level, read in _levels(denoiser):
            fed = _outputs(read, x0, eps, times, cond)
            for target, sign in _targets(denoiser):
                losses = tuple(
                    _loss(read, target, sign, x0, x_t, out, t) for (x_t, out), t in zip(fed, times, strict=True)
                )
                # a loss of 0 has no logarithm; one that is NaN is no small loss, and makes the sum NaN
                ratio = sum(-99.0 if v <= 0 else math.log(v / w) for v, w in zip(losses, floats(linear), strict=True))
                found.append(Reading(level, target, sign, losses, ratio / levels if math.isfinite(ratio) else math.inf))
    own = (_own(denoiser), denoiser.parameterization, 1)
    guess = next(r for r in found if (r.level, r.target, r.sign) == own)
    found.sort(key=lambda r: r.excess)
    return Readings(guess, tuple(found), tuple(floats(s)), float(x0.double().mean()), std)


def understood(denoiser: NetworkDenoiser) -> list[str]:
    """What was read off a source, a line each."""
    schedule = denoiser.schedule
    alpha, sigma = (float(v) for v in schedule(1.0))
    lines = [
        f"predicts {denoiser.parameterization}, is told {_own(denoiser)}"
        + (f", of which the first {denoiser.channels} channels are taken" if denoiser.channels else ""),
        f"schedule {type(schedule).__name__}: alpha {alpha:.4g}, sigma {sigma:.4g} at t = 1, "
        f"terminal SNR {schedule.terminal_snr:.3g}{' (zero)' if alpha == 0 else ''}",
    ]
    if isinstance(schedule, Discrete):
        t = torch.tensor([1 / schedule.steps, 1.0], dtype=torch.float64, device="cpu")
        before = schedule.alpha(torch.tensor([0.0, 1 - 1 / schedule.steps], dtype=torch.float64, device="cpu")) ** 2
        abar = schedule.alpha(t) ** 2
        beta = 1 - abar / before
        lines.append(
            f"chain of {schedule.steps} steps: beta {float(beta[0]):.4g} to {float(beta[1]):.4g}, "
            f"alpha_bar {float(abar[0]):.6g} to {float(abar[1]):.4g}"
        )
    return lines


def _own(denoiser: NetworkDenoiser) -> str:
    if isinstance(denoiser.level, str):
        return denoiser.level
    return "a function of t" if denoiser.level else "its target's own level"


def _levels(denoiser: NetworkDenoiser) -> Iterator[tuple[str, NetworkDenoiser]]:
    yield _own(denoiser), denoiser
    for word in LEVELS:
        if word != denoiser.level and (word != "k" or isinstance(denoiser.schedule, Discrete)):
            other = copy.copy(denoiser)
            other.level = word
            yield word, other


def _targets(denoiser: NetworkDenoiser) -> Iterator[tuple[Parameterization, int]]:
    own = denoiser.parameterization
    scaled = isinstance(own, EDMPreconditioning)  # its input is: the others would see another one
    for target in (own, *(() if scaled else (t for t in TARGETS if t != own))):
        yield target, 1
        yield target, -1


def _outputs(
    denoiser: NetworkDenoiser, x0: Tensor, eps: Tensor, times: Tensor, cond: dict[str, Any]
) -> list[tuple[Tensor, Tensor]]:
    found = []
    for t in times:
        x_t = denoiser.schedule.perturb(x0, t, eps)
        found.append((x_t, denoiser.output(x_t, t, **cond)))
    return found


def _loss(
    denoiser: NetworkDenoiser, target: Parameterization, sign: int, x0: Tensor, x_t: Tensor, output: Tensor, t: Tensor
) -> float:
    try:
        skip, out = target.solve(denoiser.schedule, t)
    except ValueError:  # singular at this level
        return math.inf
    guess = pad_right(skip, x_t) * x_t + pad_right(out, x_t) * (sign * output)
    return float((guess - x0).double().square().mean())
