"""How two predictions become one, and at which noise levels.

Guidance goes on along the line from a base prediction B = E[x0 | x_t] to another one C, a weight w of the way:

    line         D = B + w (C - B),  w = 1 is C and w = 0 is B               (Ho & Salimans 2022)
    Rescaled     D rms(C) / rms(D), mixed with D                             (Lin et al. 2024)
    Projected    the part of C - B along C shortened, its length bounded     (Sadat et al. 2025, APG)

A rule is `rule(C, B, w)`, w a number or a tensor that multiplies x: a function of one sample's predictions, so no
sample depends on its batch. Since the weights of C and B add up to 1, the line is the same in x0, eps, v and score.

A weight may be a function of the noise ratio sigma / alpha; `Interval` is the one that is known to help.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor | float], Tensor]


def line(c: Tensor, b: Tensor, w: Tensor | float) -> Tensor:
    """b + w (c - b), for any w; b itself at w = 0 and c itself at w = 1, to the last bit."""
    difference = c - b
    if isinstance(w, Tensor):  # not torch.lerp: its last bit depends on where in its vector a number stands
        return torch.where(w < 0.5, b + w * difference, c + (w - 1) * difference)
    return b + w * difference if w < 0.5 else c + (w - 1) * difference


@dataclass(frozen=True)
class Rescaled:
    """`line`, with the root mean square over the event brought back to that of `c`, by the share `amount`.

    Large weights make E[x0 | x_t] too large, which shows as saturated colours. Lin et al. 2024 (eq. 15-16, `amount`
    0.7) rescale the network's output by standard deviations; here it is E[x0 | x_t], whatever the network predicts,
    about 0, the data's mean in the model's units.

    Raises:
        ValueError: for an amount outside [0, 1].
    """

    amount: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise ValueError(f"Rescaled: amount must lie in [0, 1]; got {self.amount}")

    def __call__(self, c: Tensor, b: Tensor, w: Tensor | float) -> Tensor:
        d = line(c, b, w)
        target, size = _norm(c), _norm(d)
        ratio = torch.where(size > 0, target / size.where(size > 0, 1.0), 1.0)
        return d * (1 + self.amount * (ratio - 1))


@dataclass(frozen=True)
class Projected:
    """c + (w - 1) (u_orthogonal + parallel u_parallel), u = c - b cut to the length `radius`, parts along c and across.

    The part of the update along c only scales it, and is what saturates. This is adaptive projected guidance without
    its momentum (Sadat et al. 2025, alg. 1): a denoiser remembers nothing of its last call, so that every solver and
    every likelihood may use it.

    Args:
        parallel: the share of the parallel part that is kept, eta in the paper; 1 with an infinite radius is `line`.
        radius: largest Euclidean norm of c - b, r in the paper; in the model's units, so it grows with the event's
            size.

    Raises:
        ValueError: for a radius that is not positive.
    """

    parallel: float = 0.0
    radius: float = math.inf

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"Projected: radius must be positive; got {self.radius}")

    def __call__(self, c: Tensor, b: Tensor, w: Tensor | float) -> Tensor:
        update = c - b
        if math.isfinite(self.radius):
            update = update * (self.radius / _norm(update).clamp(min=self.radius))
        size = _norm(c)
        direction = c / torch.where(size > 0, size, 1.0)
        along = (update * direction).flatten(1).sum(1).reshape(size.shape) * direction
        return c + (w - 1) * (update - (1 - self.parallel) * along)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped to multiply x; with the derivative 0 at 0, where the two predictions of an
    unconditional sample, or of a new network, meet."""
    square = x.flatten(1).square().sum(1)
    return square.where(square > 0, 1.0).sqrt().where(square > 0, 0.0).reshape(-1, *(1,) * (x.ndim - 1))


@dataclass(frozen=True)
class Interval:
    """`weight` where low <= sigma / alpha <= high, and 1, the plain conditional model, elsewhere.

    At high noise guidance drives samples of a class to the same few, at low noise it only costs evaluations
    (Kynkaanniemi et al. 2024). Outside the interval a step costs one evaluation where all samples share their time.

    Raises:
        ValueError: unless 0 <= low < high.
    """

    weight: float
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"Interval: 0 <= low < high is expected, as sigma / alpha; got {self.low} and {self.high}")

    def __call__(self, noise_ratio: Tensor) -> Tensor:
        """The weight at `noise_ratio` = sigma / alpha, of its shape."""
        inside = (noise_ratio >= self.low) & (noise_ratio <= self.high)
        weight = torch.full_like(noise_ratio, self.weight)
        return torch.where(inside, weight, torch.ones_like(weight))
