"""Exact likelihoods through the probability-flow ODE.

In y = x / alpha against log s, s = sigma / alpha, the flow is dy/dlog s = y - D and its divergence d - tr(dD/dy), so

    log p(y at s_min) = log p(y at s_max) + int_{log s_min}^{log s_max} (d - tr dD/dy) dlog s,

integrated together with y by the classical Runge-Kutta method. The result is the density of the data blurred by s_min;
the end at s_max is the Gaussian of the data's mean and variance there. The trace is exact (d vector products) or
Hutchinson's E[v^T J v].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.randomness import Noise


class LogProb(NamedTuple):
    """What `log_prob` returns."""

    log_prob: Tensor  # (B,), nats
    stderr: Tensor  # (B,), nats: of the probes' mean; 0 for the exact trace
    latent: Tensor  # (B, *event): x at the last time of the grid
    nfe: int


def log_prob(
    denoiser: Denoiser,
    x: Tensor,
    *,
    steps: int = 24,
    probes: int | None = None,
    seed: int = 0,
    cond: Mapping[str, Any] | None = None,
    s_min: float = grids.S_MIN,
    s_max: float = 80.0,
) -> LogProb:
    """log p of `x` `(B, *event)` in nats, for x in the units the model was trained on.

    Args:
        steps: Runge-Kutta steps, 4 network evaluations each, uniform in log s.
        probes: Rademacher probes for the trace; None takes the exact trace, d vector products for each evaluation.
        s_min, s_max: the noise ratios of the two ends, in units of the data's standard deviation.
    """
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
    schedule, d = denoiser.schedule, x[:1].numel() if len(x) else 1
    low, high = s_min * denoiser.data_std, s_max * denoiser.data_std
    to_zero = int(schedule.noise_ratio(0.0) < low)  # the grid's own last step, which the integral does not take
    times = grids.uniform_log_snr(schedule, 2 * steps + to_zero, s_max=high, s_min=low)[: 2 * steps + 1].flip(0)
    alphas = schedule.alpha(times).tolist()
    log_s = -schedule.log_snr(times)
    directions = _directions(x, probes, seed)

    def rates(y: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """dy/dlog s, and v^T (dD/dy) v for each direction v, `(probes, B)`, at the i-th half-step."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            x0 = denoiser(alphas[i] * y, times[i], **(cond or {}))
            products = []
            for k, v in enumerate(directions):
                (jv,) = torch.autograd.grad(x0, y, v, retain_graph=k + 1 < len(directions))
                products.append((v * jv).reshape(len(y), -1).sum(1))
        return (y - x0).detach(), torch.stack(products)

    y, traces = x, torch.zeros(len(directions), len(x), dtype=x.dtype, device=x.device)
    for n in range(steps):
        h = float(log_s[2 * n + 2] - log_s[2 * n])
        k1, q1 = rates(y, 2 * n)
        k2, q2 = rates(y + h / 2 * k1, 2 * n + 1)
        k3, q3 = rates(y + h / 2 * k2, 2 * n + 1)
        k4, q4 = rates(y + h * k3, 2 * n + 2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        traces = traces + h / 6 * (q1 + 2 * q2 + 2 * q3 + q4)

    latent = alphas[-1] * y
    mean, std = schedule.prior(times[-1], mean=denoiser.data_mean, std=denoiser.data_std)
    z = (latent - (mean.to(latent) if isinstance(mean, Tensor) else mean)) / std
    end = -0.5 * (z**2).reshape(len(x), -1).sum(1) - d * (0.5 * math.log(2 * math.pi) + math.log(std))
    end = end + d * math.log(alphas[-1])  # the density of y = x / alpha
    divergence = d * float(log_s[-1] - log_s[0]) - (traces.sum(0) if probes is None else traces.mean(0))
    if probes is None:
        stderr = torch.zeros_like(divergence)
    elif probes == 1:  # one probe says nothing of its own error
        stderr = torch.full_like(divergence, math.nan)
    else:
        stderr = traces.std(0) / probes**0.5
    return LogProb(end + divergence, stderr, latent, 4 * steps)


def _directions(x: Tensor, probes: int | None, seed: int) -> list[Tensor]:
    event = tuple(x.shape[1:])
    if probes is None:
        basis = torch.eye(math.prod(event), dtype=x.dtype, device=x.device)
        return [e.reshape(1, *event).expand_as(x) for e in basis]
    if probes < 1:
        raise ValueError(f"probes must be at least 1, or None for the exact trace; got {probes}")
    noise = Noise(seed, torch.arange(len(x), device=x.device), event, x.dtype)
    return [noise.normal(k).sign() for k in range(probes)]
