"""Exact sampling of products by weighted particles.

Let q_t = prod_i p_i,t^w_i / Z_t, W = sum_i w_i, and S = sum_i w_i s_i its score. Each p_i,t obeys the Fokker-Planck
equation of the forward process, so in reverse time, tau = 1 - t,

    d log(Z q)/dtau = W f d + f x . S - (g^2/2) (div S + sum_i w_i |s_i|^2),

while particles that move by the family of reverse processes of the combined score,

    dx = [-f x + (1 + eta^2)/2 g^2 S] dtau + eta g dw,        d log weight = v dtau,

have a weighted law rho with d rho/dtau = -div(b rho) + (eta^2 g^2/2) lap rho + (v - E[v]) rho, b their drift. That q_t
solves this fixes v, in which the factor (1 + eta^2)/2 makes every divergence cancel, for any eta and the ODE too:

    v = (g^2/2) (|S|^2 - sum_i w_i |s_i|^2) + (W - 1) f d.

For y = x / alpha, with no drift of its own, g^2 dtau = -d(s^2) where s = sigma / alpha; with s_i = (D_i - y) / s^2 and
SNR = 1 / s^2 the schedule drops out,

    d log weight = r dSNR,    r = (|sum_i w_i (D_i - y)|^2 - sum_i w_i |D_i - y|^2) / 2,

which for two experts of weights w and 1 - w is w (w - 1) |D_1 - D_2|^2 / 2. The mean weight is Z_0 / Z_1: with it comes
log int prod_i p_i^w_i dx. Steps are finite, so the moves, not the weights, leave an error that falls with their number.

References:
    Skreta et al. 2025, Feynman-Kac correctors in diffusion; He et al. 2025 (RNE); Jarzynski 1997 (the mean weight).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import particles
from scorefield.conditions import Conditions
from scorefield.denoisers.base import in_eval_mode, require
from scorefield.guidance.products import Product, combine
from scorefield.randomness import Noise
from scorefield.schedules import as_time, pad_right
from scorefield.solvers import DDPM, GaussianExact
from scorefield.solvers.base import AffineSolver, Denoise, State, default_grid

CHUNK_ELEMENTS = 2**22  # numbers in x at a time


class WeightedSamples(NamedTuple):
    """What `feynman_kac` returns: G groups of K particles, each group a weighted sample of the product."""

    x: Tensor  # (G, K, *event)
    log_weights: Tensor  # (G, K) float64: those of a group are equal if it was resampled at the end
    log_normalizer: Tensor  # (G,) float64: log int prod_i p_i^w_i dx, by the mean weight
    effective_size: Tensor  # (G,) float64: the smallest that the group came to, of K
    nfe: int  # evaluations of each expert, for each particle


@in_eval_mode
@torch.no_grad()
def feynman_kac(
    denoiser: Product,
    shape: Sequence[int],
    *,
    particles_each: int = 64,
    steps: int = 100,
    times: Tensor | None = None,
    solver: AffineSolver | None = None,
    threshold: float = 0.5,
    resample_last: bool = True,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> WeightedSamples:
    """Samples of prod_i p_i^w_i itself, where guidance alone samples something else.

    Args:
        denoiser: a product with constant exponents: ClassifierFreeGuidance, Autoguidance, Conjunction, ...
        shape: `(G, *event)`: the groups, which are independent: to the bit where the experts compute entry by entry,
            else to rounding, and where it turns a comparison of weights a group goes on from other, equally good
            particles.
        particles_each: K, of a group. Large products need many: see `effective_size`.
        steps: of the default grid, uniform in log-SNR; or `times` `(N + 1,)`, decreasing.
        solver: how particles move: a one-evaluation method of the reverse family, GaussianExact(DDPM()) (eta = 1)
            unless given. Noise parts copies of a particle again; with DDIM() (eta = 0) they stay together.
        threshold: resample a group when its effective size falls below this share of K; 0 never does.
        resample_last: leave every group with equal weights; otherwise the particles keep the weights they came to.
        seed, first_index: group g is a function of (seed, first_index + g) and K.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
            What belongs to a sample is its group's.
        dtype, device: of the particles; by default those of the denoiser's parameters.

    Raises:
        ValueError: for a product that is not constant in time, a grid that starts where alpha = 0, bad sizes, or
            predictions that are not finite, or a condition of another length than G.
    """
    require(denoiser, "score", "feynman_kac")
    which, weights = denoiser.active()
    groups, event = shape[0], tuple(shape[1:])
    if particles_each < 1 or not 0 <= threshold <= 1:
        raise ValueError(
            f"particles_each must be at least 1 and threshold in [0, 1]; got {particles_each} and {threshold}"
        )
    times = default_grid(denoiser, steps, stochastic=True) if times is None else as_time(times)
    if float(denoiser.schedule.alpha(times[0])) == 0:
        raise ValueError("times must start below t = 1, where alpha = 0: there no expert says anything of the data")
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), None)
    dtype = dtype or (own.dtype if own is not None else torch.float32)
    device = torch.device(device or (own.device if own is not None else "cpu"))
    run = _Run(
        denoiser, which, weights, solver or GaussianExact(DDPM()), times, threshold, resample_last, seed, particles_each
    )
    told = Conditions.of(cond, groups, dtype, device, what="groups")
    size = max(1, CHUNK_ELEMENTS // max(1, particles_each * math.prod(event)))
    parts = []
    for low in range(0, max(groups, 1), size):
        high = min(low + size, groups)
        index = torch.arange((first_index + low) * particles_each, (first_index + high) * particles_each, device=device)
        own = told.rows(slice(low, high)).repeated(particles_each)
        parts.append(run.group(Noise(seed, index, event, dtype), own))
    x, log_weights, log_normalizer, smallest, nfe = zip(*parts, strict=True)
    return WeightedSamples(torch.cat(x), torch.cat(log_weights), torch.cat(log_normalizer), torch.cat(smallest), nfe[0])


class _Run(NamedTuple):
    denoiser: Product
    which: list[int]
    weights: list[float]
    solver: AffineSolver
    times: Tensor
    threshold: float
    resample_last: bool
    seed: int
    k: int

    def group(self, noise: Noise, cond: Mapping[str, Any]) -> WeightedSamples:
        """Some groups, from start to end."""
        schedule, k = self.denoiser.schedule, self.k
        uniforms = Noise(self.seed, noise.index[::k], (), torch.float64)
        log_snr = 2 * schedule.log_snr(self.times)
        x = self._start(noise)
        log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device).reshape(-1, k)
        log_w = log_w + self._log_normalizer(noise.event_shape)
        smallest = torch.full((len(log_w),), float(k), dtype=torch.float64, device=x.device)
        before = torch.zeros_like(log_w)  # the rate times the SNR at the last level: the integrand in log SNR
        for step in self.solver.plan(self.denoiser, self.times):
            parts = self.denoiser.experts(self.which, x, step.t, **cond)
            y = x / pad_right(schedule.alpha(step.t), x)
            now = _rate(parts, self.weights, y).reshape(-1, k) * torch.exp(log_snr[step.index])
            x0 = combine(parts, self.weights, x, schedule, step.t)
            if step.index:
                log_w = log_w + (before + now) / 2 * (log_snr[step.index] - log_snr[step.index - 1])
                if not bool(torch.isfinite(log_w).all()):
                    raise ValueError(
                        f"the weights are not finite at t = {float(step.t):g}: an expert's prediction is not"
                    )
                size = particles.effective_size(log_w)
                smallest, low = torch.minimum(smallest, size), size < self.threshold * k
                chosen, log_w = _resampled(log_w, uniforms.uniform(step.index), low)
                x, x0, now = x[chosen], x0[chosen], now.reshape(-1)[chosen].reshape(-1, k)
            x = self.solver.step(_known(x0), State(x, x0), step, lambda j: noise.normal(j + 1)).x
            before = now
        # below the last level the rate falls as SNR^-2
        log_w = log_w + before * -torch.expm1(log_snr[-2] - log_snr[-1])
        smallest = torch.minimum(smallest, particles.effective_size(log_w))
        log_z = torch.logsumexp(log_w, 1) - math.log(k)
        if self.resample_last:
            all_groups = torch.ones(len(log_w), dtype=torch.bool, device=x.device)
            chosen, log_w = _resampled(log_w, uniforms.uniform(len(self.times)), all_groups)
            x = x[chosen]
        return WeightedSamples(x.reshape(-1, k, *noise.event_shape), log_w, log_z, smallest, len(self.times) - 1)

    def _start(self, noise: Noise) -> Tensor:
        """x_t of the Gaussian of the data's mean and variance, to the power W."""
        mean, std = self._prior()
        z = noise.normal(0)
        return std / math.sqrt(math.fsum(self.weights)) * z + (mean.to(z) if isinstance(mean, Tensor) else mean)

    def _log_normalizer(self, event: tuple[int, ...]) -> float:
        """log int N(y; m, v)^W dy = (d/2) ((1 - W) log(2 pi v) - log W), where the particles start."""
        total = math.fsum(self.weights)
        variance = (float(self._prior().std) / float(self.denoiser.schedule.alpha(self.times[0]))) ** 2
        return math.prod(event) / 2 * ((1 - total) * math.log(2 * math.pi * variance) - math.log(total))

    def _prior(self) -> Any:
        model = self.denoiser
        return model.prior(self.times[0])


def _known(x0: Tensor) -> Denoise:
    """A denoiser that has been asked already."""
    return lambda x_t, t, rows=None: x0


def _rate(parts: Sequence[Tensor], weights: Sequence[float], y: Tensor) -> Tensor:
    """r, `(B,)` float64, in differences to the first part, so that nothing large cancels where they agree."""
    first, total = parts[0], math.fsum(weights)
    differences = [(w, (part - first).flatten(1).double()) for w, part in zip(weights[1:], parts[1:], strict=True)]
    mean = sum((w * d for w, d in differences), torch.zeros_like(first.flatten(1), dtype=torch.float64))
    rate = mean.square().sum(1) - sum(w * d.square().sum(1) for w, d in differences)
    if abs(excess := total - 1) > 1e-12:
        pull = (first - y).flatten(1).double()
        rate = rate + excess * (2 * (pull * mean).sum(1) + total * pull.square().sum(1))
    return rate / 2


def _resampled(log_w: Tensor, uniform: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """(which particles, flat, their log-weights): systematic in the `groups` `(G,)` bool, all as they are elsewhere."""
    g, k = log_w.shape
    own = torch.arange(k, device=log_w.device).expand(g, k)
    chosen = torch.where(groups[:, None], particles.systematic(log_w, uniform.to(log_w)), own)
    mean = torch.logsumexp(log_w, 1, keepdim=True) - math.log(k)  # kept: the product of the means estimates Z
    flat = (chosen + k * torch.arange(g, device=log_w.device)[:, None]).reshape(-1)
    return flat, torch.where(groups[:, None], mean.expand(g, k), log_w)
