"""Score matching on the noised marginal: the objectives that do not use the noise which made x_t.

With x_t = alpha x0 + sigma eps ~ p_t and the denoiser's score s = (alpha D - x_t) / sigma^2,

    ||s - grad log p_t||^2 = (alpha^2 / sigma^4) ||D - E[x0 | x_t]||^2,

so on the scale of `denoising`, w(t) ||D - x0||^2 / d, an integrand of `losses.integrands` counts (w / d) (2 sigma^4 /
alpha^2) times. Then, for one weight and one time law,

    E explicit = E denoising - E[w tr Cov[x0 | x_t]] / d        (0 at the exact denoiser)
    E implicit = E sliced = E denoising                         with w sigma^2 / alpha^2 added to both

The last line is Stein's unbiased risk estimate in other words: with y = x_t / alpha and s = sigma / alpha,
implicit = (w / d) (||D - y||^2 + 2 s^2 div_y D - d s^2). `finite_difference` joins it up to its step's error.

All need sigma > 0 and alpha > 0. What they ask for in place of eps: the score itself (`explicit`), d vector products
with second derivatives (`implicit`), one (`sliced`), or two plain evaluations (`finite_difference`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser, NetworkDenoiser, score
from scorefield.losses import integrands
from scorefield.losses.denoising import draw
from scorefield.losses.projections import Projection, rademacher
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Target, Weight
from scorefield.losses.weights import x0 as unweighted
from scorefield.randomness import Randomness
from scorefield.schedules import Schedule, as_time, pad_right


def explicit(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    exact: Denoiser,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """w ||D - D_exact||^2 / d at x_t, `(B,)`: explicit score matching, the regression on a known score.

    Args:
        exact: the denoiser whose score is the target, e.g. an ExactDenoiser; called without `cond`.
        denoiser, x0, t, eps, generator, weight, times, cond: as for `denoising`.

    Raises:
        ValueError: for a t where alpha or sigma is 0.
    """
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times)
    x_t = _perturb(denoiser.schedule, x0, t, eps)
    with torch.no_grad():
        target = score(exact, x_t, t)
    value = integrands.explicit(lambda x: score(denoiser, x, t, **told), x_t, lambda _: target)
    return _scaled(denoiser, value, x0, t, weight, constant=False)


def implicit(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """Implicit score matching at x_t with the exact trace, `(B,)`: d vector products of second derivatives.

    Args: as for `denoising`.

    Raises:
        ValueError: for a t where alpha or sigma is 0.

    References:
        Hyvarinen 2005; Stein 1981 (the same number, as a risk estimate).
    """
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times)
    x_t = _perturb(denoiser.schedule, x0, t, eps)
    value = integrands.implicit(lambda x: score(denoiser, x, t, **told), x_t)
    return _scaled(denoiser, value, x0, t, weight)


def sliced(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    projection: Projection = rademacher,
    projections: int = 1,
    variance_reduced: bool = True,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """Sliced score matching at x_t, `(B,)`: the trace by random directions, one vector product for each.

    Args:
        projection: the directions' law: `losses.projections.rademacher`, `gaussian` or `sphere`.
        projections: how many for each sample.
        variance_reduced: SSM-VR; off, the plain SSM, whose square is projected too.
        denoiser, x0, t, eps, generator, weight, times, cond: as for `denoising`.

    Raises:
        ValueError: for a t where alpha or sigma is 0, or less than one projection.

    References:
        Song, Garg, Shi & Ermon 2019.
    """
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times)
    x_t, v = _perturb(denoiser.schedule, x0, t, eps), _draw_directions(projection, projections, x0, generator)
    value = integrands.sliced(lambda x: score(denoiser, x, t, **told), x_t, v, variance_reduced=variance_reduced)
    return _scaled(denoiser, value, x0, t, weight)


def finite_difference(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    projection: Projection = rademacher,
    projections: int = 1,
    step: float = 0.05,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """Sliced score matching (variance reduced) at x_t by central differences, `(B,)`: no second derivatives.

    Args:
        step: h in units of sigma(t), the length on which p_t varies: the relative error is of order step^2 (see
            `integrands.finite_difference`), that of rounding 1e-7 / step in float32. Turn dropout off.
        projection, projections: as for `sliced`.
        denoiser, x0, t, eps, generator, weight, times, cond: as for `denoising`.

    Raises:
        ValueError: for a step that is not positive, a t where alpha or sigma is 0, or less than one projection.

    References:
        Pang, Xu, Li, Song, Ermon & Zhu 2020.
    """
    if not step > 0:
        raise ValueError(f"step must be positive; got {step}")
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    t, eps = draw(x0, t, eps, generator, times)
    x_t, v = _perturb(denoiser.schedule, x0, t, eps), _draw_directions(projection, projections, x0, generator)
    h = step * denoiser.schedule(t)[1]
    value = integrands.finite_difference(lambda x: score(denoiser, x, t, **told), x_t, v, h)
    return _scaled(denoiser, value, x0, t, weight)


def _perturb(schedule: Schedule, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    alpha, sigma = schedule(t)
    singular = (alpha <= 0) | (sigma <= 0)
    if bool(singular.any()):
        raise ValueError(
            f"t must have alpha > 0 and sigma > 0, where the score determines the denoiser; got t = "
            f"{float(as_time(t)[singular].flatten()[0]):g}. Use denoising, or a time law that keeps off the ends."
        )
    return schedule.perturb(x0, t, eps)


def _draw_directions(law: Projection, count: int, x: Tensor, generator: Randomness) -> Tensor:
    if count < 1:
        raise ValueError(f"projections must be at least 1; got {count}")
    return torch.stack([law(x, generator) for _ in range(count)])


def _scaled(
    denoiser: Denoiser, value: Tensor, x0: Tensor, t: Tensor, weight: Weight | None, *, constant: bool = True
) -> Tensor:
    """2 (w / d) sigma^4 / alpha^2 value, and the w sigma^2 / alpha^2 that makes it a risk."""
    schedule, d = denoiser.schedule, math.prod(x0.shape[1:])
    if weight is None:  # as in `denoising`: the error of a network's own target
        weight = Target(denoiser.parameterization) if isinstance(denoiser, NetworkDenoiser) else unweighted
    t = as_time(t)
    alpha, sigma = schedule(t)
    w = weight(schedule, t)
    scaled = pad_right(2 * w * sigma**4 / alpha**2 / d, value) * value
    return scaled + pad_right(w * sigma**2 / alpha**2, value) if constant else scaled
