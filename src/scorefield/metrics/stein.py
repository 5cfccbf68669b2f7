"""Stein's operator, and the discrepancy that tells samples from a law by its score alone.

For a law p with score s and a field f that vanishes far out,

    (A f)(x) = s(x) . f(x) + div f(x),       E_p A f = 0                                            (Stein's identity)

So how far E_q A f is from 0 says how far q is from p, without p's constant. The worst f of the unit ball of a kernel's
space has a closed form, the kernel Stein discrepancy:

    KSD^2 = E_q u(x, x'),   u(x, y) = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k,

with k = (1 + |x - y|^2 / h^2)^(-1/2), whose slow decay sees mass that escapes to infinity. Scores are local: between
separated modes s does not know the weights, and the KSD is blind to wrong ones. At noise the modes join and it sees
them: with y = x + r z, z ~ N(0, I), the score of the noised law is the denoiser's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser, score
from scorefield.denoisers.gradients import differentiable
from scorefield.distributions import Distribution
from scorefield.metrics.evidence import Evidence, normal
from scorefield.metrics.kernels import median_distance
from scorefield.metrics.pairs import generator, rank
from scorefield.randomness import Noise
from scorefield.tensors import require_batch

Score = Callable[[Tensor], Tensor]

BLOCK = 1024  # rows of the kernel matrix at once


def stein_operator(score: Score, field: Score) -> Score:
    """A f: takes `(B, *event)` to s(x) . f(x) + div f(x), `(B,)`, whose mean under the law of the score is 0.

    The divergence is exact, by one derivative for each entry of the event; `field(x)` `(B, *event)` must treat samples
    one by one.
    """

    def operated(x: Tensor) -> Tensor:
        with differentiable():
            x = x.detach().clone().requires_grad_()
            f = field(x)
            flat = f.reshape(len(x), -1)
            divergence = torch.zeros(len(x), dtype=x.dtype, device=x.device)
            for i in range(flat.shape[1] if flat.requires_grad else 0):
                (row,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True, allow_unused=True)
                if row is not None:
                    divergence = divergence + row.reshape(len(x), -1)[:, i]
        return ((score(x.detach()) * f.detach()).reshape(len(x), -1)).sum(1) + divergence.detach()

    return operated


def kernel_stein(
    x: Tensor,
    target: Score | Distribution | Denoiser,
    *,
    noise_ratios: float | Sequence[float] = (),
    bandwidth: float | None = None,
    sampler: Callable[..., Tensor] | None = None,
    resamples: int = 499,
    seed: int = 0,
) -> Evidence:
    """The squared kernel Stein discrepancy of samples `x` `(n, *event)` from `target`: goodness of fit by scores.

    `.value` is the U-statistic mean_{i != j} u(x_i, x_j), 0 in the mean under the target (`.floor`, exactly). With
    `noise_ratios` it is the mean over them of r^2 times that of x + r z, z drawn once a sample.

    `.p_value`: where a sampler is given, the rank among the values of as many exact draws, valid in finite samples
    (499 times the cost); else the wild bootstrap, sum_{i != j} w_i w_j u_ij with random signs w, right for large n.
    `.interval` is normal with Hoeffding's variance 4 var(mean_j u_ij) / n, for a target that is not the law of x.

    Args:
        target: a score, `(B, *event)` to `(B, *event)`; a Distribution; or a Denoiser, with noise ratios.
        noise_ratios: sigma / alpha of the smoothing, in the data's units; none is the Langevin form at the data itself.
        bandwidth: h; the median distance of x (of each noised x) unless given.
        sampler: `sampler(n, generator=generator)` draws from the target, as `Distribution.sample` does.
        resamples: of the bootstrap, or exact draws.

    Raises:
        ValueError: for less than two samples, values or scores that are not finite, a bandwidth or noise ratio that is
            not positive; for a score with noise ratios, or a denoiser without.

    References:
        Liu, Lee & Jordan 2016; Chwialkowski, Strathmann & Gretton 2016; Gorham & Mackey 2017, Measuring sample quality
        with kernels.
    """
    require_batch("x", x)
    ratios = (float(noise_ratios),) if isinstance(noise_ratios, int | float) else tuple(map(float, noise_ratios))
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 samples; got {len(x)}")
    if any(not r > 0 for r in ratios) or (bandwidth is not None and not bandwidth > 0):
        raise ValueError(f"noise_ratios and bandwidth must be positive; got {noise_ratios} and {bandwidth}")
    views = _views(target, ratios)
    u = _matrix(x, views, bandwidth, seed, 0)
    n = len(x)
    own = u.sum(1)
    value = float(own.sum()) / (n * (n - 1))

    def p() -> float:
        draw = generator(seed)
        if sampler is None:
            signs = 2.0 * torch.randint(2, (n, resamples), generator=draw, device="cpu").double() - 1
            return rank(value, (signs * (u @ signs)).sum(0) / (n * (n - 1)))
        found = [
            _matrix(sampler(n, generator=draw).to(x), views, bandwidth, seed, 1 + k).sum() / (n * (n - 1))
            for k in range(resamples)
        ]
        return rank(value, torch.stack(found))

    return Evidence(
        name="kernel_stein",
        value=value,
        n=(n,),
        bounds=normal(value, 2 * math.sqrt(float((own / (n - 1)).var()) / n), low=0.0),
        null=lambda: (0.0, (n,)),
        p=p,
    )


def _views(target: Any, ratios: tuple[float, ...]) -> list[tuple[float, Score]]:
    """(noise ratio, score of x + r z) of each level; ratio 0 for the law itself."""
    if isinstance(target, Distribution):
        return [(r, lambda y, r=r: target.score_at(y, 1.0, r)) for r in ratios] or [(0.0, target.score)]
    if isinstance(target, Denoiser):
        if not ratios:
            raise ValueError("a denoiser is compared at noise: give noise_ratios, sigma / alpha in the data's units")
        return [(r, lambda y, r=r: _of_denoiser(target, y, r)) for r in ratios]
    if ratios:
        raise ValueError("noise_ratios need the scores of noised laws: give a Distribution or a Denoiser")
    return [(0.0, target)]


def _of_denoiser(denoiser: Denoiser, y: Tensor, ratio: float) -> Tensor:
    """grad log of the law of y = x_t / alpha."""
    t = denoiser.schedule.time_of_log_snr(torch.tensor(-math.log(ratio), dtype=torch.float64, device="cpu"))
    alpha = float(denoiser.schedule.alpha(t))
    return alpha * score(denoiser, alpha * y, t)


def _matrix(x: Tensor, views: list[tuple[float, Score]], bandwidth: float | None, seed: int, repeat: int) -> Tensor:
    """u of all pairs `(n, n)` in float64 on the CPU, 0 on the diagonal; each repeat has noise of its own."""
    total = torch.zeros(len(x), len(x), dtype=torch.float64, device="cpu")
    noise = Noise(seed, torch.arange(len(x), device=x.device), tuple(x.shape[1:]), x.dtype)
    for i, (ratio, of) in enumerate(views):
        y = x + ratio * noise.normal(repeat * len(views) + i) if ratio else x
        with torch.no_grad():
            s = of(y)
        flat, s = (v.detach().reshape(len(x), -1).to("cpu", torch.float64) for v in (y, s))
        for name, v in (("x", flat), ("the target's scores", s)):
            if not bool(torch.isfinite(v).all()):
                raise ValueError(f"{name} must be finite; got NaN or infinity")
        h = median_distance(flat, seed) if bandwidth is None else bandwidth
        for first in range(0, len(x), BLOCK):
            rows = slice(first, first + BLOCK)
            total[rows] += (ratio**2 or 1.0) / len(views) * stein_kernel(flat[rows], s[rows], flat, s, h)
    total.fill_diagonal_(0)
    return total


def stein_kernel(x: Tensor, score_x: Tensor, y: Tensor, score_y: Tensor, bandwidth: float) -> Tensor:
    """u(x_i, y_j) `(N, M)` of the inverse multiquadric with this bandwidth; all of x, y and scores `(., d)`."""
    h2, d = bandwidth**2, x.shape[1]
    squared = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    q = 1 / (1 + squared / h2)
    along = (score_x * x).sum(1)[:, None] - score_x @ y.T - (x @ score_y.T - (score_y * y).sum(1))
    return q.sqrt() * (score_x @ score_y.T + q / h2 * (along + d - 3 * squared * q / h2))
