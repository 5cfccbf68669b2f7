"""The twisted diffusion sampler: particles pulled by the gradient of the twist, for any differentiable likelihood.

The twist guesses p(y | x_t) from D = E[x0 | x_t] and a variance c(t) of x0 about it,

    psi_t(x) = N(y; A(D), c J J^T + S),   J = dA/dx at D         for Gaussian noise: moments matched,
    psi_t(x) = p(y | x0 = D)                                     for any other likelihood,

and moves the mean of the transition by its gradient, D' = D + (sigma^2 / alpha) grad log psi_t, as Tweedie's formula
does with the score of p_t(x) psi_t(x):

    r(x_s | x_t) = N(a x_t + b D', q^2 + b^2 c).

References: Wu et al. 2023, Practical and asymptotically exact conditional sampling in diffusion models.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorefield.inverse.linear import Factored, Whitened, isotropic, worst
from scorefield.inverse.measurement import GaussianNoise
from scorefield.inverse.method import Cost, Task
from scorefield.inverse.operators.base import LinearOperator
from scorefield.inverse.smc import ParticleMethod
from scorefield.schedules import pad_right
from scorefield.solvers.exact_variance import GaussianVariance, X0Variance


@dataclass(frozen=True, eq=False)
class _Particles:
    x: Tensor
    x0: Tensor  # D
    pull: Tensor  # D' - D
    log_psi: Tensor
    system: Whitened | None
    residual: Tensor | None = None

    @property
    def determined(self) -> bool:
        return self.system is None or self.system.spectrum is not None

    def take(self, index: Tensor) -> _Particles:
        residual = None if self.residual is None else self.residual[index]
        x, x0, pull, psi = (v[index] for v in (self.x, self.x0, self.pull, self.log_psi))
        return _Particles(x, x0, pull, psi, self.system, residual)


@dataclass(frozen=True)
class TwistedSMC(ParticleMethod):
    """TDS with a moment-matched twist; one vector-Jacobian product of the network a step.

    Args:
        variance: c(t); that of Gaussian data unless given (`solvers.calibrate` measures it on data).
    """

    variance: X0Variance = field(default_factory=GaussianVariance)

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe), self.steps(nfe))

    def elements(self, dim: int) -> int:
        return 4 * dim

    def start(self, task: Task, t: Tensor) -> tuple[_Particles, Tensor]:
        linear = isinstance(task.likelihood, GaussianNoise) and isinstance(task.likelihood.operator, LinearOperator)
        system = Whitened(task.likelihood, task.observation) if linear else None  # type: ignore[arg-type]
        particles = self._at(task, task.initial(t), t, system, None)
        return particles, particles.log_psi

    def move(self, task: Task, particles: _Particles, k: int, t: Tensor, s: Tensor) -> tuple[_Particles, Tensor]:  # type: ignore[override]
        a, b, q = (float(v) for v in task.schedule.posterior(s, t))
        x_t, x0, pull, system = particles.x, particles.x0, particles.pull, particles.system
        c = self._variance(task, t)
        end, z = float(task.schedule.sigma(s)) == 0, task.normal(3 * k + 1)
        if end and system is not None:  # x0 ~ N(D, c I) given y, exactly: p(x_0 | x_t) psi_0 / psi_t is its density
            free = (x0 + c**0.5 * z).flatten(1)
            error = task.normal(3 * k + 2, (system.size,))
            gain = isotropic(system, c).solve(system.residual(free) - error)
            x = (free + c * system.adjoint(gain)).reshape(x_t.shape)
            return _Particles(x, x0, pull, particles.log_psi, system, particles.residual), x.new_zeros(len(x))
        std = (q**2 + b**2 * c) ** 0.5
        x_s = a * x_t + b * (x0 + pull) + std * z
        drift = (b * pull / std).flatten(1)
        ratio = -(drift * (z.flatten(1) + drift / 2)).sum(1)  # log p(x_s | x_t) / r(x_s | x_t)
        if end:
            now = _Particles(x_s, x0, pull, task.own.log_prob(x_s), system, particles.residual)
        else:
            now = self._at(task, x_s, s, system, particles.residual)
        return now, ratio + now.log_psi - particles.log_psi

    def _variance(self, task: Task, t: Tensor) -> float:
        return float(self.variance.at(task.denoiser, t.reshape(1)).mean())

    def _at(self, task: Task, x: Tensor, t: Tensor, system: Whitened | None, residual: Tensor | None) -> _Particles:
        """D, log psi and its gradient at x_t."""
        alpha, sigma = task.schedule(t)
        c = self._variance(task, t)
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            x0 = task.denoise(leaf, t)
            if system is not None:
                innovation = isotropic(system, c)
                r = system.residual(x0.flatten(1))
                with torch.no_grad():
                    solved = innovation.solve(r)
                    log_psi = innovation.log_prob(r, solved) + system.log_scale
                    residual = worst(residual, innovation)
                objective = -(r * solved).sum()  # of the same gradient as log psi = -r K^-1 r / 2 + constant
            else:
                log_psi = self._nonlinear(task, x0, c)
                objective = log_psi.sum()
            (gradient,) = torch.autograd.grad(objective, leaf)
        pull = pad_right(sigma**2 / alpha, gradient) * gradient
        return _Particles(x, x0.detach(), pull, log_psi.detach(), system, residual)

    @staticmethod
    def _nonlinear(task: Task, x0: Tensor, c: float) -> Tensor:
        own = task.own
        if not isinstance(own, GaussianNoise):
            return own.log_prob(x0)
        std = torch.as_tensor(own.noise_std, dtype=x0.dtype, device=x0.device).expand(own.y.shape).flatten(1)

        def measured(x: Tensor) -> Tensor:
            return (own.operator(x.reshape(x0.shape)).flatten(1) / std).sum(0)

        jacobian = torch.autograd.functional.jacobian(measured, x0.detach()).flatten(2).transpose(0, 1)  # (R, M, D)
        eye = torch.eye(std.shape[1], dtype=x0.dtype, device=x0.device)
        innovation = Factored(c * torch.bmm(jacobian, jacobian.mT) + eye)
        return innovation.log_prob(own.residual(x0).flatten(1)) - std.log().sum(1)
