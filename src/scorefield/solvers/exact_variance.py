"""Ancestral steps with the variance they should have.

The law of x_s given x_t averages q(x_s | x_t, x_0) over the posterior of x_0, not over its mean alone. With the step
q_eta(x_s | x_t, x_0) = N(a x_t + b x_0, sigma_eta^2 I) of DDIM's family,

    E[x_s | x_t] = a x_t + b D,      Cov[x_s | x_t] = sigma_eta^2 I + b^2 Cov[x_0 | x_t].

DDPM and DDIM leave the second term out, which makes samples too narrow by an amount of the order of a step.
`AnalyticDPM` puts it in, for a model of Cov[x_0 | x_t]: `GaussianVariance`, exact for Gaussian data, or a
`CalibratedVariance`, measured on data by `calibrate` as the denoiser's mean squared error.

`GaussianExact` does the same for any method of one evaluation a step: of its three numbers it keeps one, and takes from
the others what the mean and the variance of Gaussian data ask for, step by step.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.randomness import Randomness, randn_like
from scorefield.schedules import pad_right
from scorefield.solvers.ancestral import DDIM
from scorefield.solvers.base import AffineSolver, Denoise, Normals, Solver, State, Step, finite


class X0Variance(abc.ABC):
    """A model of the variance of x_0 given x_t, one for every x_t of a level."""

    @abc.abstractmethod
    def at(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        """Of each number of x_0, `(N,)` or `(N, *event)` float64, at times `t` `(N,)`."""


@dataclass(frozen=True)
class GaussianVariance(X0Variance):
    """sd^2 sigma^2 / (alpha^2 sd^2 + sigma^2): of Gaussian data of the denoiser's data_std."""

    def at(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        alpha, sigma = denoiser.schedule(t)
        v = denoiser.data_std**2
        return v * sigma**2 / (alpha**2 * v + sigma**2)


@dataclass(frozen=True, eq=False)
class CalibratedVariance(X0Variance):
    """A table against log-SNR, interpolated in log variance, held constant beyond its ends.

    Raises:
        ValueError: unless log_snr increases, and variance is positive with an entry for each of it.
    """

    log_snr: Tensor  # (L,), increasing
    variance: Tensor  # (L,) or (L, *event), positive

    def __post_init__(self) -> None:
        ordered = self.log_snr.ndim == 1 and bool((self.log_snr.diff() > 0).all())
        if not ordered or self.variance.shape[:1] != self.log_snr.shape or not bool((self.variance > 0).all()):
            raise ValueError(
                "CalibratedVariance: log_snr (L,) must increase and variance (L, ...) be positive; "
                f"got shapes {tuple(self.log_snr.shape)} and {tuple(self.variance.shape)}"
            )

    def at(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        levels, last = self.log_snr.double(), len(self.log_snr) - 1
        where = denoiser.schedule.log_snr(t).clamp(levels[0], levels[-1])
        high = torch.searchsorted(levels, where).clamp(min(1, last), last)
        low = (high - 1).clamp(min=0)
        gap = torch.where(high > low, levels[high] - levels[low], 1.0)
        part = ((where - levels[low]) / gap).reshape(-1, *(1,) * (self.variance.ndim - 1))
        logs = self.variance.double().log()
        return torch.exp(torch.lerp(logs[low], logs[high], part))


@in_eval_mode
@torch.no_grad()
def calibrate(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    levels: int = 24,
    each: bool = False,
    generator: Randomness = None,
    **cond: Any,
) -> CalibratedVariance:
    """E Cov[x_0 | x_t] at `levels` log-SNRs, as the mean squared error of the denoiser on the data `x0` `(B, *event)`.

    For a trained network it includes the network's own error, which is the variance a Gaussian step should have too
    (Bao et al. 2022, sec. 5). The cost is `levels` evaluations of the batch.

    Args:
        each: one variance for each number of the event, instead of one for all.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.

    Raises:
        ValueError: for a condition of another length than x0.
    """
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    schedule, sd = denoiser.schedule, denoiser.data_std
    ends = schedule.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu"))
    centre = -torch.log(torch.tensor(sd, dtype=torch.float64, device="cpu"))  # sigma = alpha sd
    low, high = torch.maximum(ends[0], centre - 4.5), torch.minimum(ends[1], centre + 6.5)
    table = low + (high - low) * torch.linspace(0, 1, levels, dtype=torch.float64, device="cpu")
    rows = []
    for t in schedule.time_of_log_snr(table):
        alpha, sigma = schedule(t)
        x_t = alpha * x0 + sigma * randn_like(x0, generator)
        error = (denoiser(x_t, t, **told) - x0).double().square()
        rows.append(error.mean(0) if each else error.mean())
    return CalibratedVariance(table, torch.stack(rows).cpu())


class _Step(NamedTuple):
    x: float
    x0: float
    noise: Tensor | float  # a tensor (*event,) where each number has its own


@dataclass(frozen=True)
class AnalyticDPM(Solver):
    """DDIM's family with the whole variance of x_s given x_t (Bao et al. 2022; eta = 1 is DDPM's step).

        x_s = a x_t + b D + sqrt(sigma_eta^2 + b^2 Var[x_0 | x_t]) z,
        a = sqrt(sigma_s^2 - sigma_eta^2) / sigma_t,    b = alpha_s - a alpha_t,    sigma_eta as DDIM's.

    Args:
        eta: 1 the ancestral step, 0 DDIM's (with noise all the same: of x_0's uncertainty).
        x0_variance: the model of Cov[x_0 | x_t]; exact for Gaussian data unless given.

    Raises:
        ValueError: for an eta outside [0, 1].
    """

    eta: float = 1.0
    x0_variance: X0Variance = field(default_factory=GaussianVariance)

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"AnalyticDPM: eta must lie in [0, 1]; got {self.eta}")

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def increments(self) -> bool:
        return True

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        nfe = self.budget(nfe)
        return self, grids.angular(denoiser.schedule, nfe, power=1.2, scale=denoiser.data_std, onset=1.0)

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        rows = DDIM(self.eta).coefficients(denoiser, t, s)
        b, c = (torch.tensor([row[i] for row in rows], dtype=torch.float64, device="cpu") for i in (1, 2))
        variance = self.x0_variance.at(denoiser, t)
        b, c = pad_right(b, variance), pad_right(c, variance)
        ends = pad_right(denoiser.schedule.sigma(s), variance) == 0
        noise = torch.where(ends, 0.0, torch.sqrt(c**2 + b**2 * variance))
        finite(self, t, noise=noise.flatten(1).sum(1) if noise.ndim > 1 else noise)
        each = list(noise) if noise.ndim > 1 else noise.tolist()
        return [_Step(row.x, row.x0, n) for row, n in zip(rows, each, strict=True)]

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        a, b, c = step.coefficients
        x0 = denoise(state.x, step.t)
        x = torch.add(state.x * a, x0, alpha=b)
        if isinstance(c, Tensor):
            x = x.addcmul_(normals(step.index), c.to(x))
        elif c:
            x = x.add_(normals(step.index), alpha=c)
        return State(x, x0)


@dataclass(frozen=True)
class GaussianExact(AffineSolver):
    """A method of one evaluation a step, x_s = a x + b D + c z, made exact on N(m, data_std^2) for every m.

    With V = alpha^2 sd^2 + sigma^2 and D = m + alpha sd^2 (x - alpha m) / V, mean and variance at s ask for

        a alpha_t + b = alpha_s,      (a + b alpha_t sd^2 / V_t)^2 V_t + c^2 = V_s.

    A stochastic method keeps its a. A deterministic one, and a step no c can mend, becomes the one exact step with
    c = 0. The step to sigma = 0 stays E[x0 | x_t], whose missing variance is that of the last level.

    GaussianExact(DDPM()) is AnalyticDPM().
    """

    solver: AffineSolver

    @property
    def stochastic(self) -> bool:
        return self.solver.stochastic

    def weights(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (alpha_t, sigma_t), (alpha_s, sigma_s), v = denoiser.schedule(t), denoiser.schedule(s), denoiser.data_std**2
        v_t, v_s = alpha_t**2 * v + sigma_t**2, alpha_s**2 * v + sigma_s**2
        a = self.solver.weights(denoiser, t, s)[0]
        missing = v_s - (a + (alpha_s - a * alpha_t) * alpha_t * v / v_t) ** 2 * v_t
        noisy = (missing > 0) & self.stochastic
        a = torch.where(noisy, a, (torch.sqrt(v_s * v_t) - alpha_s * alpha_t * v) / sigma_t**2)
        return a, alpha_s - a * alpha_t, torch.where(noisy, torch.sqrt(missing.clamp(min=0.0)), 0.0)
