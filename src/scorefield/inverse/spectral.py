"""Posterior samples of whole pictures: the Gaussian bridge with a covariance that is diagonal in frequency.

A picture has too many numbers for all of Tweedie's covariance, and one variance for all of them is far from it: what a
denoiser leaves open at high noise is smooth. So take C, the covariance of x0 given x_t, to be that of a stationary and
isotropic error, on a circle diagonal in Hartley's real basis H:

    C = H diag(c) H,    c_k(t) = E [H (x0 - D(x_t, t))]_k^2, a mean over data and over the frequencies of one radius.

Each step draws x0 ~ N(D, C) given y and takes the exact bridge to the next time,

    z ~ N(D, C),  (C^-1 + W^T W) d = W^T (u - W z - n),  x0 = z + d,  x_s ~ q(x_s | x_t, x0),

with u = W x + n the measurement over its noise (`linear.py`). The system is solved by conjugate gradients after
division by (1 / c + g), g the diagonal of H W^T W H: all of it for a filter, most of it for tomography, so a few
iterations do.

For stationary Gaussian data samples are exact at any number of steps. Otherwise the error of the assumption stays,
however many steps: no weights put it right, which in 10^4 dimensions would be those of one particle. Look at coverage
on data whose truth is known. The cost is that of sampling without a measurement, plus the operator's applications.

References:
    Song et al. 2023, Pseudoinverse-guided diffusion models for inverse problems (one variance for all numbers).
    Chung et al. 2023, Decomposed diffusion sampler (conjugate gradients inside a sampler).
    Zhang et al. 2024, Improving diffusion inverse problem solving with decoupled noise annealing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.inverse.linear import Whitened, linear_gaussian
from scorefield.inverse.measurement import Likelihood
from scorefield.inverse.method import Cost, Drawn, Method, Task, below_pure_noise, grid
from scorefield.inverse.operators.blur import hartley
from scorefield.inverse.start import given_data
from scorefield.randomness import Randomness, randn_like
from scorefield.schedules import as_time

PROBES = 16  # for the diagonal of H W^T W H: what is off the diagonal only makes the solver slower
AXES = (-2, -1)
TAPER = 3.0  # from the tolerance to where a row stops


class Spectrum(Protocol):
    """The variance of each frequency of x0 given x_t."""

    def at(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        """c `(H, W)` float64 at the time `t` `()`, in the order of the Fourier transform, positive."""
        ...


@dataclass(frozen=True, eq=False)
class ErrorSpectrum:
    """A table against log-SNR and radius, interpolated in log variance, held constant beyond the ends.

    Raises:
        ValueError: unless log_snr rises over at least 2 levels, with a positive variance at each level and radius.
    """

    log_snr: Tensor  # (L,), increasing
    variance: Tensor  # (L, R): of frequencies of radius 0, 1, .. R - 1 cycles a picture, positive
    size: tuple[int, int]  # (H, W)

    def __post_init__(self) -> None:
        ordered = self.log_snr.ndim == 1 and len(self.log_snr) > 1 and bool((self.log_snr.diff() > 0).all())
        radii = int(radius(self.size).max()) + 1
        fits = tuple(self.variance.shape) == (*self.log_snr.shape, radii)
        if not ordered or not fits or not bool((self.variance > 0).all()):
            raise ValueError(
                f"ErrorSpectrum: log_snr (L,) must increase, L at least 2, and variance (L, {radii}) be positive; "
                f"got shapes {tuple(self.log_snr.shape)} and {tuple(self.variance.shape)}"
            )

    def at(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        levels = self.log_snr.double()
        where = denoiser.schedule.log_snr(t).clamp(levels[0], levels[-1])
        high = int(torch.searchsorted(levels, where).clamp(1, len(levels) - 1))
        part = (where - levels[high - 1]) / (levels[high] - levels[high - 1])
        logs = self.variance.double().log()
        return torch.lerp(logs[high - 1], logs[high], part).exp()[radius(self.size)]


@in_eval_mode
@torch.no_grad()
def calibrate_spectrum(
    denoiser: Denoiser, x0: Tensor, *, levels: int = 16, generator: Randomness = None, **cond: object
) -> ErrorSpectrum:
    """The spectrum of the denoiser's error on data `x0` `(B, C, H, W)`, at `levels` log-SNRs: as many evaluations.

    For a trained network it includes the network's own error, which a Gaussian of x0 should have too. Some ten
    pictures are enough, for each radius has many frequencies; data it was not trained on are better.

    Raises:
        ValueError: unless `x0` is pictures `(B, C, H, W)`, B at least 1, and conditions have a row for each.
    """
    if x0.ndim != 4 or len(x0) == 0:
        raise ValueError(f"x0 must be pictures (B, C, H, W), at least one; got {tuple(x0.shape)}")
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    schedule, sd = denoiser.schedule, denoiser.data_std
    h, w = x0.shape[-2:]
    ends = schedule.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu"))
    # from where all of the picture is open (its largest frequency has sqrt(H W) sd, at most) to where nothing is
    low = max(float(ends[0]), -math.log(sd * math.sqrt(h * w)))
    high = min(float(ends[1]), -math.log(sd) + 6.5)
    table = torch.linspace(low, high, levels, dtype=torch.float64, device="cpu")
    ring = radius((h, w)).flatten()
    count = torch.bincount(ring).double()
    rows = []
    for t in schedule.time_of_log_snr(table):
        alpha, sigma = schedule(t)
        error = x0 - denoiser(alpha * x0 + sigma * randn_like(x0, generator), t, **told)
        power = hartley(error.double(), AXES).square().mean((0, 1)).flatten().cpu()
        rows.append(torch.zeros_like(count).index_add(0, ring, power) / count)
    floor = torch.finfo(torch.float32).eps * sd**2
    return ErrorSpectrum(table, torch.stack(rows).clamp(min=floor), (h, w))


def radius(size: tuple[int, int]) -> Tensor:
    """Of each frequency, `(H, W)` int64: cycles along the longer side of the picture, rounded."""
    h, w = size
    longer = max(h, w)
    y, x = (torch.fft.fftfreq(n, dtype=torch.float64) * longer for n in (h, w))
    return torch.hypot(y[:, None], x).round().long()


@dataclass(frozen=True)
class SpectralBridge(Method):
    """The Gaussian bridge for pictures `(C, H, W)`, for linear operators with Gaussian noise.

    Args:
        spectrum: of x0 given x_t; `calibrate_spectrum` measures it.
        tolerance: of the conjugate gradients, for each sample by itself: the residual over the right-hand side, both
            after division by (1 / c + g).
            A row does not stop at it all at once: between it and a third of it its steps count less and less, so that
            no last bit, of another chunk or processor, decides on a whole step: draws agree to 1e-6. Rounding does grow
            in the iterations, to 3e-4 in the worst case that was made for it; a smaller tolerance takes that away.
        limit: of their iterations; what is left then is reported in `residual`.
        times: the grid, decreasing to 0; by default that of the particle methods.

    Raises:
        ValueError: for a tolerance or a limit that is not positive.
    """

    spectrum: Spectrum
    tolerance: float = 1e-3
    limit: int = 100
    times: Tensor | None = None
    particles: int = 1

    def __post_init__(self) -> None:
        if not (self.tolerance > 0 and self.limit >= 1):
            raise ValueError(f"tolerance must be positive, limit at least 1; got {self.tolerance} and {self.limit}")
        if self.particles != 1:
            raise ValueError(f"particles must be 1, for nothing weighs them; got {self.particles}")

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        linear_gaussian(likelihood, "SpectralBridge")
        want = self.spectrum.at(denoiser, torch.tensor(1.0, dtype=torch.float64, device="cpu")).shape
        if len(likelihood.event_shape) < 2 or likelihood.event_shape[-2:] != tuple(want):
            raise ValueError(f"SpectralBridge: the spectrum is of pictures {tuple(want)}; got {likelihood.event_shape}")

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe))

    def elements(self, dim: int) -> int:
        return 4 * dim

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        times = grid(task.denoiser, nfe) if self.times is None else below_pure_noise(task.denoiser, as_time(self.times))
        system = Whitened(
            linear_gaussian(task.likelihood, "SpectralBridge"), task.observation
        )  # float64: see `_solved`
        gain = _gain(system)
        x = given_data(task, system, times[0], task.initial(times[0]))
        left = torch.zeros(len(task.index), dtype=task.dtype, device="cpu")
        for k, (t, s) in enumerate(pairwise(times)):
            c = self.spectrum.at(task.denoiser, t).to(x)
            first, third = (task.normal(3 * k + n).to(x) for n in (1, 3))
            error = task.normal(3 * k + 2, (system.size,)).to(x)
            mean = task.denoise(x, t)
            z = mean + _filtered(c.sqrt(), first)
            b = system.adjoint(system.u - system.forward(z) - error).reshape(x.shape)
            d, residual = self._solved(system, c, gain, b)
            x0, left = z + d, torch.maximum(left, residual.to(left))
            if float(task.schedule.sigma(s)) == 0:
                x = x0
            else:
                a, b0, q = (float(v) for v in task.schedule.posterior(s, t))
                x = a * x + b0 * x0 + q * third
            advance()
        return Drawn(x.to(task.dtype), residual=left)

    def _solved(self, system: Whitened, c: Tensor, gain: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """d with (C^-1 + W^T W) d = b, and the relative residual of each row `(R,)`.

        d = sum_k f_k step_k p_k over the steps of conjugate gradients, f falling from 1 to 0 with the logarithm of the
        smallest residual so far: a row that has come to 0 stands still, as do all its sums, and got there smoothly.
        In float64, since the steps between enlarge rounding a thousandfold and more before they converge.
        """
        divided = 1 / (1 / c + gain)

        def product(v: Tensor) -> Tensor:
            return _filtered(1 / c, v) + system.adjoint(system.forward(v)).reshape(v.shape)

        def dot(v: Tensor, w: Tensor) -> Tensor:
            return (v * w).flatten(1).sum(1).reshape(-1, *(1,) * (v.ndim - 1))

        tiny = torch.finfo(b.dtype).tiny
        d, r = torch.zeros_like(b), b
        left = b  # b less the product of d
        p = y = _filtered(divided, r)
        ry = least = begun = dot(r, y)
        for _ in range(self.limit):
            share = least / (self.tolerance**2 * begun).clamp(min=tiny)
            share = (1 + torch.log(share.clamp(min=tiny)) / math.log(TAPER**2)).clamp(0.0, 1.0)
            if not bool((share > 0).any()):
                break
            ap = product(p)
            step = torch.where(share > 0, ry / dot(p, ap).clamp(min=tiny), 0.0)
            d, left, r = d + share * step * p, left - share * step * ap, r - step * ap
            y = _filtered(divided, r)
            new = dot(r, y)
            p = torch.where(share > 0, y + new / ry.clamp(min=tiny) * p, p)
            ry = torch.where(share > 0, new, ry)
            least = torch.minimum(least, ry)
        found = dot(left, _filtered(divided, left))
        return d, (found / begun.clamp(min=tiny)).clamp(min=0).sqrt().flatten()


def _filtered(gain: Tensor, x: Tensor) -> Tensor:
    """H diag(gain) H x, for a gain that is even in frequency a real, symmetric filter."""
    spectrum = torch.fft.rfft2(x) * gain[..., : x.shape[-1] // 2 + 1]
    return torch.fft.irfft2(spectrum, x.shape[-2:])


def _gain(system: Whitened) -> Tensor:
    """About the diagonal of H W^T W H of each row, `(R or 1, 1.., H, W)`: E[v (H W^T W H v)] over signs v.

    Made even in frequency, and a function of the row's own noise alone.
    """
    shape = system.operator.event_shape
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(0, 2, (PROBES, *shape), generator=generator, device="cpu").to(system.u) * 2 - 1
    precision = system.std.square().reciprocal().reshape(-1, *system.operator.output_shape)  # of R rows, or of one
    g = system.u.new_zeros(len(precision), *shape)
    for sign, seen in zip(v, system.operator(hartley(v, AXES)), strict=True):
        g = g + sign * hartley(system.operator.adjoint(precision * seen), AXES) / PROBES
    g = g.flatten(1, -3).mean(1) if len(shape) > 2 else g
    g = ((g + g.flip(AXES).roll((1, 1), AXES)) / 2).clamp(min=0)
    return g.reshape(len(g), *(1,) * (len(shape) - 2), *shape[-2:])
