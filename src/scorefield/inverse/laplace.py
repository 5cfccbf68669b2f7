"""The bridge for any likelihood: particles that move as if x0 given x_t and y were normal, by Laplace's method.

Given x_t take x0 ~ N(D, C), and what y adds as its site (`inverse.sites`): x0 = D + S w, w ~ N(w*, (I + M)^-1). Then

    r(x_s | x_t) = N(a x_t + b (D + S w*), q^2 I + b^2 S (I + M)^-1 S),
    p(x_s | x_t) = N(a x_t + b D,          q^2 I + b^2 C),

r the mixture of two such where the likelihood has a second mode on the other side of D (`inverse.modes`), and the
weights p psi_s / (psi_t r) put right what the site gets wrong; the last move draws x0 itself, whose weight has
p(y | x0) in full. For linear measurements with Gaussian noise this is `Bridge`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scorefield.inverse.method import Cost, Task
from scorefield.inverse.modes import Modes, modes
from scorefield.inverse.moments import Covariance, FullCovariance, Moments
from scorefield.inverse.sites import DENSE, Site, root
from scorefield.inverse.smc import ParticleMethod

CHOICE = 2**28  # the draw of the choice between modes at step 0, and so on: beyond those of steps


@dataclass(frozen=True, eq=False)
class _Particles:
    x: Tensor
    moments: Moments
    modes: Modes
    residual: Tensor | None = None
    determined: bool = True

    def take(self, index: Tensor) -> _Particles:
        return _Particles(self.x[index], self.moments.take(index), self.modes.take(index))


@dataclass(frozen=True)
class LaplaceBridge(ParticleMethod):
    """SMC for any likelihood whose log-probability has a gradient: of any operator and any noise.

    A site has one mode, and a second is looked for on the other side of D: the sign of a square, of all numbers at
    once. Where a likelihood has more within the spread of x0, or elsewhere (each number's own sign), the particles may
    follow some of them, and neither the evidence nor the effective size tells.

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
        return particles, particles.modes.log_psi

    def move(self, task: Task, particles: _Particles, k: int, t: Tensor, s: Tensor) -> tuple[_Particles, Tensor]:  # type: ignore[override]
        moments, now, event = particles.moments, particles.modes, particles.x.shape[1:]
        a, b, q = (float(v) for v in task.schedule.posterior(s, t))
        own = now.chosen(task.uniform(CHOICE + k).flatten())
        w = own.w + own.narrowed(task.normal(3 * k + 1).flatten(1))
        x0 = moments.mean + moments.apply(root, w)
        if float(task.schedule.sigma(s)) == 0:
            drawn = replace(particles, x=x0.reshape(-1, *event))
            logs = task.own.log_prob(drawn.x) - w.square().sum(1) / 2 - _mixed(now, lambda site: site.log_prob(w))
            return drawn, logs - now.log_psi
        free = q * task.normal(3 * k + 2).flatten(1)
        x_s = a * particles.x.flatten(1) + b * x0 + free
        ahead = b * moments.apply(root, w) + free  # from the prior's mean of x_s
        proposed = _mixed(now, lambda site: _proposed(moments, site, ahead - b * moments.apply(root, site.w), b, q))
        logs = _free(moments, ahead, b, q) - proposed
        moved = self._at(task, x_s.reshape(-1, *event), s, moments.mean + moments.apply(root, own.w))
        return moved, logs + moved.modes.log_psi - now.log_psi

    def _at(self, task: Task, x: Tensor, t: Tensor, begin: Tensor | None) -> _Particles:
        cond: dict[str, Any] = dict(task.cond)
        moments = self.covariance.moments(task.denoiser, x.to(task.dtype), t, **cond)
        shape = x.shape[1:]

        def log_prob(x0: Tensor, rows: Tensor) -> Tensor:
            return task.likelihood.rows(task.observation[rows]).log_prob(x0.reshape(-1, *shape))

        return _Particles(x, moments, modes(log_prob, moments, begin))


def _mixed(now: Modes, density: Callable[[Site], Tensor]) -> Tensor:
    """log of the mean over the sites, by their shares, of what `density` gives the log of."""
    return torch.logsumexp(torch.stack([density(site) for site in now.sites], 1) + now.log_shares, 1)


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
