"""Variational bounds on -log p(x0), in nats, for continuous data in the denoiser's units.

The model starts from the Gaussian of `schedule.prior`, runs the reverse process down to t_min, and ends with
p(x0 | x) = N(x / alpha, s^2 I), s = sigma / alpha at t_min. Its bound has three terms,

    L(x0) = KL(q(x_1 | x0) || prior)
          + 1/2 int E||D(x_t, t) - x0||^2 (-dSNR/dt) dt    from t_min to t_max    (Kingma et al. 2021, eq. 11)
          + d/2 log(2 pi e s^2),

and with the exact denoiser the integral is I(x0; x_tmin) - I(x0; x_1) (I-MMSE), so that its mean over the data is

    E L = entropy of the data blurred by s(t_min) + KL(q(x_1) || prior),

the second term 0 for isotropic Gaussian data. In discrete time, over a grid t_max = t_0 > ... > t_K = t_min with the
posterior's own variance (Ho et al. 2020, eq. 5), the integral is a sum of KL terms,

    sum_k 1/2 (SNR(t_{k+1}) - SNR(t_k)) E||D(x_{t_k}, t_k) - x0||^2,

a Riemann sum from above, for the exact denoiser's error grows with t: discrete >= continuous, equal as K grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import require
from scorefield.losses.denoising import draw
from scorefield.losses.times import Importance, TimeLaw
from scorefield.losses.weights import likelihood, snr
from scorefield.randomness import Randomness
from scorefield.schedules import as_time, pad_right


def continuous_bound(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    t_min: float = 1e-3,
    t_max: float = 1.0,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """An unbiased estimate of the continuous-time bound from one t and one eps for each sample, nats, `(B,)`.

    Args:
        denoiser, x0, eps, generator, cond: as for `denoising`.
        t_min, t_max: the ends of the process; sigma(t_min) and alpha(t_max) must not be 0.
        times: the law t is drawn from, positive on [t_min, t_max], its `density` with respect to dt; uniform in log-SNR
            unless given. `Stratified` of it takes most of the variance out of a batch's mean.
        t: times already drawn from that law.

    Raises:
        ValueError: where sigma(t_min) or alpha(t_max) is 0.

    References:
        Kingma et al. 2021; Song et al. 2021b, theorem 3.
    """
    require(denoiser, "score", "continuous_bound")
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    law = times or Importance(denoiser.schedule, t_min, t_max)
    t, eps = draw(x0, t, eps, generator, law)
    t = as_time(t)
    inside = (t >= t_min) & (t <= t_max)
    rate = torch.where(inside, likelihood(denoiser.schedule, t) / law.density(t), 0.0)
    error = _squared_error(denoiser, x0, t, eps, told)
    return _ends(denoiser, x0, t_min, t_max) + pad_right(rate, error) * error


def discrete_bound(
    denoiser: Denoiser,
    x0: Tensor,
    grid: Tensor,
    *,
    eps: Tensor | None = None,
    generator: Randomness = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """The bound of the ancestral sampler on `grid`, all terms, one eps for each step, nats, `(B,)`.

    Args:
        denoiser, x0, generator, cond: as for `denoising`.
        grid: `(K + 1,)`, decreasing, from alpha > 0 to sigma > 0: K evaluations.
        eps: the noise of every step, `(B, *event)`, the same for all; drawn anew for each unless given.

    Raises:
        ValueError: for a grid that does not decrease, or has less than two times; where sigma or alpha is 0 at its
            ends.

    References:
        Ho et al. 2020, eq. 5; Kingma et al. 2021, eq. 13.
    """
    require(denoiser, "score", "discrete_bound")
    grid = as_time(grid)
    if grid.ndim != 1 or len(grid) < 2 or bool((grid.diff() >= 0).any()):
        raise ValueError(f"grid must be one-dimensional, decreasing, of at least 2 times; got {grid.tolist()}")
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    bound = _ends(denoiser, x0, float(grid[-1]), float(grid[0]))
    ratios = snr(denoiser.schedule, grid)
    for k in range(len(grid) - 1):
        t, noise = draw(x0, grid[k], eps, generator, None)
        bound = bound + (ratios[k + 1] - ratios[k]) / 2 * _squared_error(denoiser, x0, t, noise, told)
    return bound


def _squared_error(denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Conditions) -> Tensor:
    return _square(denoiser(denoiser.schedule.perturb(x0, t, eps), t, **cond) - x0)


def _ends(denoiser: Denoiser, x0: Tensor, t_min: float, t_max: float) -> Tensor:
    """KL(N(alpha x0, sigma^2 I) || prior) at t_max, and the reconstruction -E log p(x0 | x) at t_min."""
    d, schedule = math.prod(x0.shape[1:]), denoiser.schedule
    alpha, sigma = (float(v) for v in schedule(t_max))
    ratio = float(schedule.noise_ratio(t_min))
    if not (ratio > 0 and alpha > 0):
        raise ValueError(f"sigma(t_min) and alpha(t_max) must be positive; got sigma/alpha = {ratio:g} and {alpha:g}")
    mean, std = denoiser.prior(t_max)
    mean = mean.to(x0) if isinstance(mean, Tensor) else mean
    prior = d * (math.log(float(std) / sigma) + (sigma / float(std)) ** 2 / 2 - 0.5)
    return (
        _square(alpha * x0 - mean) / (2 * float(std) ** 2) + prior + d / 2 * math.log(2 * math.pi * math.e * ratio**2)
    )


def _square(x: Tensor) -> Tensor:
    return x.square().reshape(len(x), math.prod(x.shape[1:])).sum(1)
