"""The bridge for any likelihood: particles that move as if x0 given x_t and y were normal, by Laplace's method.

Given x_t take x0 ~ N(D, C), and what y adds as its site (`inverse.sites`): x0 = D + S w, w ~ N(w*, (I + M)^-1). Then

    r(x_s | x_t) = N(a x_t + b (D + S w*), q^2 I + b^2 S (I + M)^-1 S),
    p(x_s | x_t) = N(a x_t + b D,          q^2 I + b^2 C),

and the weights p psi_s / (psi_t r) put right what the site gets wrong; the last move draws x0 itself, whose weight has
p(y | x0) in full. For linear measurements with Gaussian noise this is `Bridge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.inverse.method import Cost, Task
from scorefield.inverse.moments import Covariance, FullCovariance, Moments
from scorefield.inverse.sites import DENSE, Site, root, site
from scorefield.inverse.smc import ParticleMethod


@dataclass(frozen=True, eq=False)
class _Particles:
    x: Tensor
    moments: Moments
    site: Site
    residual: Tensor | None = None
    determined: bool = True

    def take(self, index: Tensor) -> _Particles:
        return _Particles(self.x[index], self.moments.take(index), self.site.take(index))


@dataclass(frozen=True)
class LaplaceBridge(ParticleMethod):
    """SMC for any likelihood whose log-probability has a gradient: of any operator and any noise.

    A site has one mode. Where a likelihood has several within the spread of x0 (the sign of a square), all particles
    may follow one of them, and neither the evidence nor the effective size tells.

    Args:
        covariance: of x0 given x_t, as `Bridge`'s.
    """

    covariance: Covariance = field(default_factory=FullCovariance)

    def cost(self, nfe: int, dim: int) -> Cost:
        steps = self.steps(nfe)
        return Cost(steps, steps * self.covariance.vjps(dim))

    def elements(self, dim: int) -> int:
        return 4 * max(self.covariance.elements(dim), 2 * dim**2 if dim <= DENSE else dim)

    def start(self, task: Task, t: Tensor) -> tuple[_Particles, Tensor]:
        particles = self._at(task, task.initial(t), t, None)
        return particles, particles.site.log_psi

    def move(self, task: Task, particles: _Particles, k: int, t: Tensor, s: Tensor) -> tuple[_Particles, Tensor]:  # type: ignore[override]
        moments, now, event = particles.moments, particles.site, particles.x.shape[1:]
        a, b, q = (float(v) for v in task.schedule.posterior(s, t))
        z = task.normal(3 * k + 1).flatten(1)
        w = now.w + now.narrowed(z)
        x0 = moments.mean + moments.apply(root, w)
        if float(task.schedule.sigma(s)) == 0:
            drawn = _Particles(x0.reshape(-1, *event), moments, now)
            own = task.own.log_prob(drawn.x) - (w.square() - z.square()).sum(1) / 2 - now.log_det / 2
            return drawn, own - now.log_psi
        free = q * task.normal(3 * k + 2).flatten(1)
        x_s = a * particles.x.flatten(1) + b * x0 + free
        ahead = b * moments.apply(root, w) + free  # from the prior's mean of x_s
        given = ahead - b * moments.apply(root, now.w)  # from the proposal's
        logs = _free(moments, ahead, b, q) - _proposed(moments, now, given, b, q)
        moved = self._at(task, x_s.reshape(-1, *event), s, moments.mean + moments.apply(root, now.w))
        return moved, logs + moved.site.log_psi - now.log_psi

    def _at(self, task: Task, x: Tensor, t: Tensor, begin: Tensor | None) -> _Particles:
        cond: dict[str, Any] = dict(task.cond)
        moments = self.covariance.moments(task.denoiser, x.to(task.dtype), t, **cond)
        shape = x.shape[1:]

        def log_prob(x0: Tensor, rows: Tensor) -> Tensor:
            return task.likelihood.rows(task.observation[rows]).log_prob(x0.reshape(-1, *shape))

        return _Particles(x, moments, site(log_prob, moments, begin))


def _free(moments: Moments, v: Tensor, b: float, q: float) -> Tensor:
    """log N(v; 0, q^2 I + b^2 C), but for the constant."""
    solved = moments.apply(lambda c: 1 / (q**2 + b**2 * c), v)
    return -((v * solved).sum(1) + torch.log(q**2 + b**2 * moments.spectrum).sum(1)) / 2


def _proposed(moments: Moments, now: Site, v: Tensor, b: float, q: float) -> Tensor:
    """log N(v; 0, q^2 I + b^2 S (I + M)^-1 S), but for the constant."""
    if now.basis is None:  # where C is a number
        variance = q**2 + b**2 * moments.spectrum / now.precision
        return -(v.square() / variance + variance.log()).sum(1) / 2
    half = b * moments.apply(root, now.basis * now.precision.rsqrt()[:, None])
    eye = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
    factor = torch.linalg.cholesky(torch.bmm(half, half.mT) + q**2 * eye)
    white = torch.linalg.solve_triangular(factor, v[..., None], upper=False)[..., 0]
    return -white.square().sum(1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
