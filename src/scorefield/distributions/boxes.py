"""Uniform laws on boxes: densities with edges, whose noised laws are still closed.

On an interval of centre c and width w, x_t = alpha x0 + b eps has, with m = (x_t - alpha c) / b and h = alpha w / b,

    p(x_t)      = Z / (alpha w),            Z = Phi(m + h/2) - Phi(m - h/2)
    E[eps | .]  = (phi(m - h/2) - phi(m + h/2)) / Z        (then x0 = (x_t - b eps) / alpha: a truncated normal's mean)

A box is a product of intervals, and a set of boxes a mixture. The differences cancel in the tails and where
alpha w << b, so each regime has its own form (`_interval`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.distributions._lanes import evaluate, total
from scorefield.distributions.base import Distribution, Level, check_levels, check_weights, common, parameter
from scorefield.distributions.gaussian import Gaussian
from scorefield.randomness import Randomness, Stream, choice, randn

# Gauss-Legendre on [-1/2, 1/2], the positive half: 8 nodes integrate exp(b tau), |b| <= 2, to 1e-16.
_NODES, _WEIGHTS = (a[4:] / 2 for a in np.polynomial.legendre.leggauss(8))


class _Terms(NamedTuple):
    rho: Tensor  # (N, K, 1, L)
    eps: Tensor  # (N, K, D, L): E[eps | x_t, box]
    x0: Tensor  # (N, K, D, L): E of the point in the box
    b: Tensor  # () or (N, 1, L): noise, 1 where it is 0
    v: Tensor  # b^2, where 0 is 0
    log_p: Tensor  # (N, 1, L)


class UniformBoxes(Distribution):
    """sum_k weights_k Uniform[lower_k, upper_k], blurred with N(0, std^2 I). Computed in float64.

    Args:
        lower, upper: corners, `(K, D)`, lower < upper.
        weights: `(K,)`, summing to 1; by default in proportion to the volumes, a uniform density on disjoint boxes.
        std: of the blur; 0 leaves the edges sharp. Then at sigma = 0 the score is 0 everywhere and says nothing.

    Raises:
        ValueError: for an upper corner that does not exceed the lower, a negative or infinite std, or weights that do
            not sum to 1.
    """

    def __init__(self, lower: Any, upper: Any, weights: Any | None = None, std: float = 0.0) -> None:
        lower = parameter("lower", lower, "K", "D")
        upper = parameter("upper", upper, *lower.shape)
        if not bool((upper > lower).all()):
            raise ValueError(f"upper must exceed lower; got a smallest width of {float((upper - lower).min()):g}")
        self.dtype, self.device = common(lower, upper), lower.device
        lower, upper = lower.double(), upper.double()
        if weights is None:
            volume = (upper - lower).log().sum(1)
            self._weights = torch.softmax(volume, 0)
        else:
            self._weights = check_weights(parameter("weights", weights, len(lower)))
        self.std = float(std)
        if not 0 <= self.std < math.inf:
            raise ValueError(f"std must be finite and >= 0; got {std:g}")
        self._centre, self._width = (lower + upper) / 2, upper - lower
        # Boxes share sides (a board of n x n squares has 2n): each distinct interval is evaluated once.
        axis = torch.arange(lower.shape[1], dtype=torch.float64, device=self.device).expand_as(lower)
        sides, self._side = torch.unique(
            torch.stack([axis, self._centre, self._width], -1).reshape(-1, 3), dim=0, return_inverse=True
        )
        self._axis, self._side = sides[:, 0].long(), self._side.reshape(lower.shape)
        self._side_centre, self._side_width = sides[:, 1], sides[:, 2]
        self.event_shape = (lower.shape[1],)

    @property
    def lower(self) -> Tensor:
        """`(K, D)`."""
        return (self._centre - self._width / 2).to(self.dtype)

    @property
    def upper(self) -> Tensor:
        """`(K, D)`."""
        return (self._centre + self._width / 2).to(self.dtype)

    @property
    def weights(self) -> Tensor:
        """`(K,)`."""
        return self._weights.to(self.dtype)

    @property
    def mean(self) -> Tensor:
        return (self._weights @ self._centre).to(self.dtype)

    @property
    def variance(self) -> Tensor:
        between = (self._centre - self._weights @ self._centre) ** 2
        return (self._weights @ (self._width**2 / 12 + between) + self.std**2).to(self.dtype)

    def sample(self, n: int, *, generator: Randomness = None) -> Tensor:
        k = choice(self._weights, n, generator)
        shape = (n, *self.event_shape)
        if isinstance(generator, Stream):
            u = generator.uniform(self.event_shape, self.dtype).to(self.device)
        else:
            u = torch.rand(shape, dtype=self.dtype, device=self.device, generator=generator)
        x = self._centre.to(self.dtype)[k] + self._width.to(self.dtype)[k] * (u - 0.5)
        if self.std:
            x = x + self.std * randn(shape, generator, self.dtype, self.device)
        return x

    def noised(self, alpha: float, sigma: float) -> UniformBoxes | Gaussian:
        """Boxes scaled by alpha, the blur sqrt(alpha^2 std^2 + sigma^2). At alpha = 0 only the noise is left."""
        alpha, sigma = check_levels(alpha, sigma)
        if alpha == 0:
            zeros = torch.zeros(self.event_shape, dtype=self.dtype, device=self.device)
            return Gaussian(zeros, zeros + sigma**2)
        half = self._width / 2
        blur = math.hypot(alpha * self.std, sigma)
        new = UniformBoxes(alpha * (self._centre - half), alpha * (self._centre + half), self._weights, blur)
        new.dtype = self.dtype
        return new

    def log_prob_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        return self._evaluate(lambda x, a, s: self._terms(x, a, s).log_p, x_t, alpha, sigma)[:, 0]

    def score_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s)
            out = -total(terms.rho * terms.eps, 1).squeeze(1) / terms.b
            return torch.where(terms.v > 0, out, 0.0).to(x.dtype)

        return self._evaluate(block, x_t, alpha, sigma)

    def denoise(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s)
            a, s, v, b2 = _rows(a), _rows(s), terms.v, terms.b**2
            x = x.double()
            sharp = v == 0
            on_x = torch.where(sharp, 1 / a, a * self.std**2 / b2)
            on_box = torch.where(sharp, 0.0, s**2 / b2)
            return on_x * x + on_box * total(terms.rho * terms.x0, 1).squeeze(1)

        return self._evaluate(block, x_t, alpha, sigma)

    def _evaluate(self, f, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        return evaluate(f, x_t, alpha, sigma, self.event_shape, width=self._centre.numel())

    def _terms(self, x: Tensor, a: Tensor, s: Tensor) -> _Terms:
        a, s = _rows(a), _rows(s)
        width = self._side_width[:, None]
        v = a**2 * self.std**2 + s**2
        b = torch.where(v > 0, v, 1.0).sqrt()
        offset = x.double()[:, self._axis] - a * self._side_centre[:, None]
        log_z, eps, tau = _interval(offset / b, a * width / b)
        log_q = (log_z - b.log())[:, self._side]
        log_q = total(log_q, 2).squeeze(2)
        edge = torch.where(offset.abs() <= a * width / 2, -(a * width).log(), -math.inf)
        edge = total(edge[:, self._side], 2).squeeze(2)
        logits = self._weights.log()[:, None] + log_q
        top = logits.detach().amax(1, keepdim=True)
        likelihood = torch.exp(logits - top)
        evidence = total(likelihood, 1)
        edge = self._weights.log()[:, None] + edge
        peak = edge.amax(1, keepdim=True).clamp(min=-1e300)  # outside every box: log 0, not NaN
        sharp = peak + total((edge - peak).exp(), 1).log()
        log_p = torch.where(v > 0, top + evidence.log(), sharp)
        x0 = self._side_centre[:, None] + width * tau
        return _Terms((likelihood / evidence)[:, :, None], eps[:, self._side], x0[:, self._side], b, v, log_p)


def _interval(m: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log(Z / h), E[eps] and E[tau], where eps = m - h tau ~ N(0, 1) given that tau lies in [-1/2, 1/2]."""
    m, h = torch.broadcast_tensors(m, h)
    smooth = (h <= 1) & (m.abs() * h <= 2)  # tau's density exp(m h tau - h^2 tau^2 / 2) is nearly flat: integrate it

    mf, hf = torch.where(smooth, m, 0.0), torch.where(smooth, h, 0.0)
    mass, moment = torch.zeros_like(mf), torch.zeros_like(mf)
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        up = torch.exp(mf * hf * node)
        gauss = weight * torch.exp(-((hf * node) ** 2) / 2)
        mass = mass + gauss * (up + 1 / up)
        moment = moment + gauss * node * (up - 1 / up)
    tau_flat = moment / mass
    log_flat = mass.log() - mf**2 / 2 - 0.5 * math.log(2 * math.pi)

    sign = torch.where(m < 0, -1.0, 1.0)  # not torch.sign: its zero at m = 0 would kill the derivative there
    md, hd = torch.where(smooth, 2.0, m * sign), torch.where(smooth, 2.0, h)
    low, high = md - hd / 2, md + hd / 2
    outside = low > 0
    tail_low, tail_high = torch.special.erfcx(low.abs() / math.sqrt(2)), torch.special.erfcx(high / math.sqrt(2))
    drop = torch.exp(-md * hd)  # phi(high) / phi(low)
    phi = torch.exp(-(low**2) / 2)
    z_out = torch.where(outside, tail_low - drop * tail_high, 1.0) / 2  # Z exp(low^2 / 2)
    z_in = torch.where(outside, 1.0, 1 - phi * (tail_low + drop * tail_high) / 2)
    log_z = torch.where(outside, z_out.log() - low**2 / 2, z_in.log())
    eps = -torch.expm1(-md * hd) / math.sqrt(2 * math.pi) * torch.where(outside, 1 / z_out, phi / z_in)
    tau = (md - eps) / hd
    return (
        torch.where(smooth, log_flat, log_z - hd.log()),
        torch.where(smooth, m - h * tau_flat, sign * eps),
        torch.where(smooth, tau_flat, sign * tau),
    )


def _rows(level: Tensor) -> Tensor:
    """`(N, 1, 1, L)` -> `(N, 1, L)`."""
    return level[:, 0] if level.ndim else level
