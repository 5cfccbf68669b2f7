"""The Gaussian bridge: particles that move as if p(x0 | x_t) were normal, and weights for what that gets wrong.

Given x_t take x0 ~ N(D, C). Then x0, x_s and y = A x0 + n are jointly normal, everything about them is linear algebra,
and the proposal is the transition given y, exactly:

    x0 ~ N(D, C) given y,    x_s ~ q(x_s | x_t, x0) = N(a x_t + b x0, q^2 I):    r(x_s | x_t) = p(x_s | x_t, y).

With the twist psi_t = N(y; A D, A C A^T + S), which is p(y | x_t) under the same assumption, Bayes' rule
r = p(x_s | x_t) p(y | x_s, x_t) / psi_t leaves of the weight's factor

    psi_s(x_s) / p(y | x_s, x_t):

what y looks like from x_s by the new moments, over what the old ones said it would look like,

    p(y | x_s, x_t) = N(y; A m, A C' A^T + S),    m = D + b C (q^2 + b^2 C)^-1 (x_s - a x_t - b D),
                                                  C' = q^2 C (q^2 + b^2 C)^-1.

For Gaussian data both agree and every weight is 1: samples are exact at any number of steps. The last step draws x0
itself, for a linear operator with weight 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.inverse.linear import Whitened, linear_gaussian, worst
from scorefield.inverse.measurement import Likelihood
from scorefield.inverse.method import Cost, Task
from scorefield.inverse.moments import Covariance, FullCovariance, Moments, identity
from scorefield.inverse.smc import ParticleMethod


@dataclass(frozen=True, eq=False)
class _Particles:
    x: Tensor
    moments: Moments
    system: Whitened
    residual: Tensor | None = None

    @property
    def determined(self) -> bool:
        return self.moments.determined(self.system)

    def take(self, index: Tensor) -> _Particles:
        residual = None if self.residual is None else self.residual[index]
        return _Particles(self.x[index], self.moments.take(index), self.system, residual)


@dataclass(frozen=True)
class Bridge(ParticleMethod):
    """SMC with the Gaussian-bridge proposal, for linear operators with Gaussian noise.

    Args:
        covariance: of x0 given x_t. `FullCovariance()` for events of up to some hundred numbers;
            `IsotropicCovariance()` for pictures, which costs no vector-Jacobian products.
    """

    covariance: Covariance = field(default_factory=FullCovariance)

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        linear_gaussian(likelihood, "Bridge")

    def cost(self, nfe: int, dim: int) -> Cost:
        steps = self.steps(nfe)
        return Cost(steps, steps * self.covariance.vjps(dim))

    def elements(self, dim: int) -> int:
        return 4 * self.covariance.elements(dim)

    def start(self, task: Task, t: Tensor) -> tuple[_Particles, Tensor]:
        system = Whitened(linear_gaussian(task.likelihood, "Bridge"), task.observation)
        x = task.initial(t)
        moments = self._moments(task, x, t)
        innovation = moments.innovation(system)
        logs = innovation.log_prob(system.residual(moments.mean)) + system.log_scale
        return _Particles(x, moments, system, innovation.residual), logs

    def move(self, task: Task, particles: _Particles, k: int, t: Tensor, s: Tensor) -> tuple[_Particles, Tensor]:  # type: ignore[override]
        moments, system, event = particles.moments, particles.system, particles.x.shape[1:]
        a, b, q = (float(v) for v in task.schedule.posterior(s, t))
        innovation = moments.innovation(system)
        z = moments.mean + moments.apply(torch.sqrt, task.normal(3 * k + 1).flatten(1))
        error = task.normal(3 * k + 2, (system.size,))
        x0 = z + moments.apply(identity, system.adjoint(innovation.solve(system.residual(z) - error)))
        residual = worst(particles.residual, innovation)
        if float(task.schedule.sigma(s)) == 0:
            return _Particles(x0.reshape(-1, *event), moments, system, residual), torch.zeros_like(x0[:, 0])
        x_t = particles.x.flatten(1)
        x_s = a * x_t + b * x0 + q * task.normal(3 * k + 3).flatten(1)
        mean = moments.mean + moments.apply(lambda v: b * v / (q**2 + b**2 * v), x_s - a * x_t - b * moments.mean)
        expected = moments.innovation(system, lambda v: q**2 * v / (q**2 + b**2 * v))
        foretold = expected.log_prob(system.residual(mean))
        x = x_s.reshape(-1, *event)
        moments = self._moments(task, x, s)
        found = moments.innovation(system)
        logs = found.log_prob(system.residual(moments.mean)) - foretold
        for used in (expected, found):
            residual = worst(residual, used)
        return _Particles(x, moments, system, residual), logs

    def _moments(self, task: Task, x: Tensor, t: Tensor) -> Moments:
        cond: dict[str, Any] = dict(task.cond)
        return self.covariance.moments(task.denoiser, x.to(task.dtype), t, **cond)
