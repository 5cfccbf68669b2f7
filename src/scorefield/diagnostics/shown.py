"""What an exact denoiser satisfies besides, by noise level: shown, and no alarm by itself.

    residual        E (x0 - D) f(x_t) = 0 for every f: how much a D + b x_t + c improves on D
    second order    tr Cov[x0 | x_t] = (sigma^2 / alpha) tr dD/dx_t has the mean of |x0 - D|^2
    a gradient      the Jacobian of D is symmetric
    one process     in y = x_t / alpha, tau = s^2 / 2:   d score / d tau = grad (div score + |score|^2)

A network's Jacobian is never quite symmetric, and its scores at two levels never quite of one process: what reaches the
samples of that is the error of D, which is measured.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser, covariance
from scorefield.denoisers.base import evaluating
from scorefield.denoisers.gradients import differentiable
from scorefield.diagnostics.evidence import Evidence
from scorefield.diagnostics.measured import Points, predictions, squares, time_of
from scorefield.randomness import Stream, randn_like

FEW, SMALL = 128, 64  # data, for what takes derivatives, and the entries of an event above which an eighth are taken
STEP = 0.02  # of log s, in the difference along it: float32 has no digits left for a smaller one
UNAVAILABLE = RuntimeError  # of networks that can't be differentiated so


class Shown(NamedTuple):
    """Each `(L,)`; NaN where it can't be had."""

    correctable: Tensor
    tweedie: Tensor
    asymmetry: Tensor
    fokker_planck: Tensor


def shown(e: Evidence) -> Shown:
    """Of every level."""
    d = e.subject.denoiser
    few = e.judged.few(FEW if e.judged.x0[0].numel() <= SMALL else FEW // 8)
    rows = []
    with evaluating(d):
        for level in e.s.tolist():
            found = predictions(d, e.judged, level)
            residual = math.nan if found is None else _correctable(e.judged, found, level)
            rows.append((residual, *_second_order(d, few, level), _fokker_planck(d, few, level)))
    return Shown(*torch.tensor(rows, dtype=torch.float64, device="cpu").T)


def _correctable(points: Points, found: Tensor, s: float) -> float:
    """The share of |x0 - D|^2 that regression on (D, y, 1) explains."""
    y = (points.x0 + s * points.eps).double()
    features = torch.stack([found.flatten(), y.flatten() / (1 + s), torch.ones_like(y).flatten()], 1)
    target = (points.x0.double() - found).flatten()[:, None]
    left = target - features @ torch.linalg.lstsq(features.cpu(), target.cpu()).solution.to(features)
    return 1 - float(left.square().mean() / target.square().mean().clamp(min=1e-300))


def _second_order(denoiser: Denoiser, points: Points, s: float) -> tuple[float, float]:
    """(Tweedie's trace over the squared residual, the Jacobian's asymmetry)."""
    t = time_of(denoiser, s)
    if t is None:
        return math.nan, math.nan
    x_t = denoiser.schedule.perturb(points.x0, t, points.eps)
    u = randn_like(x_t, Stream(0, torch.arange(len(x_t), device=x_t.device))).sign()
    residual = denoiser(x_t, t, **points.told) - points.x0
    try:
        back = covariance(denoiser, x_t, t, u, mode="vjp", **points.told)
        ahead = covariance(denoiser, x_t, t, u, mode="jvp", **points.told)
    except UNAVAILABLE:
        return math.nan, math.nan
    trace = float((u * back).double().flatten(1).mean(1).mean())
    asymmetry = squares(back - ahead).mean().sqrt() / squares(back + ahead).mean().sqrt()
    return trace / max(float(squares(residual).mean()), 1e-300), float(asymmetry)


def _fokker_planck(denoiser: Denoiser, points: Points, s: float) -> float:
    """rms of d score / d tau - grad (div score + |score|^2) over rms of d score / d tau, tau = s^2 / 2.

    With div score + |score|^2 by v . grad (score . v) + |score|^2, for two signs v apart, whose residuals' product is
    unbiased for the square.
    """
    y = (points.x0 + s * points.eps).detach()
    told = points.told

    def score(at: Tensor, level: float) -> Tensor:
        t = denoiser.schedule.time_of_log_snr(-math.log(level))
        alpha = float(denoiser.schedule(t)[0])
        return (denoiser(alpha * at, t, **told) - at) / level**2

    draws = Stream(1, torch.arange(len(y), device=y.device))
    low, high = s * math.exp(-STEP), s * math.exp(STEP)
    if any(time_of(denoiser, level) is None for level in (low, s, high)):
        return math.nan
    try:
        slope = (score(y, high) - score(y, low)) / ((high**2 - low**2) / 2)
        gaps = []
        for _ in range(2):
            v = randn_like(y, draws).sign()
            with differentiable():
                at = y.clone().requires_grad_()
                own = score(at, s)
                (along,) = torch.autograd.grad((own * v).sum(), at, create_graph=True)
                total = (along * v).sum() + own.square().sum()
                (right,) = torch.autograd.grad(total, at)
            gaps.append(slope - right.detach())
    except UNAVAILABLE:
        return math.nan
    residual = (gaps[0] * gaps[1]).double().flatten(1).mean(1).mean().clamp(min=0).sqrt()
    return float(residual / squares(slope).mean().sqrt().clamp(min=1e-300))
