"""Samplers of the literature with steps of their own: approximations, each with a bias that steps do not remove.

DPS       an ancestral step, then one along the gradient of |y - A(D)|, of length zeta     Chung et al. 2023
DDRM      in the singular basis of A: known directions take y, others the prior            Kawar et al. 2022
DAPS      an ODE to x0, x0 given y around it, noise anew: levels without a path             Zhang et al. 2025
REDDiff   one x0 for each sample, optimised: what explains y and denoises to itself        Mardani et al. 2024
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.inverse.linear import Whitened, isotropic, linear_gaussian, worst
from scorefield.inverse.measurement import GaussianNoise, Likelihood
from scorefield.inverse.method import Cost, Drawn, Method, Task, grid
from scorefield.inverse.operators.base import LinearOperator
from scorefield.solvers import recommended
from scorefield.solvers.base import State


class _Walk(Method):
    """One evaluation a step."""

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe))


@dataclass(frozen=True)
class DPS(_Walk):
    """Diffusion posterior sampling: x_s <- DDPM's step - w_t grad_x |y - A(D(x_t))|, each sample with its own norm.

    The paper's w is 0.3 to 1 whatever the step, for 1,000 steps of VP, pictures in [-1, 1] and an A that keeps their
    scale. Here, so that one number serves any process, budget, size and units,

        w_t = zeta sqrt(d) c_t c_s / (N a),    c^2 = alpha^2 sd^2 + sigma^2,

    for N steps of events of d entries and standard deviation sd, c being that of x_t (1 on VP, where the paper's unit
    is), and a the rms of A over data of that spread. 6 was within 3% of the best zeta at 20 and 100 steps of
    eight Gaussians, eight mixtures and three super-resolutions of digits; the paper's values are 0.3 to 1.1.

    Args:
        zeta: length of the pull, in these units.

    Raises:
        ValueError: for a zeta below 0; in use, for a likelihood that is not Gaussian.
    """

    zeta: float = 6.0

    def __post_init__(self) -> None:
        if not 0 <= self.zeta < math.inf:
            raise ValueError(f"zeta must be 0 or more; got {self.zeta}")

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        if not isinstance(likelihood, GaussianNoise):
            raise ValueError(f"DPS needs a GaussianNoise likelihood, of any operator; got {type(likelihood).__name__}")

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe), nfe)

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        own = task.own
        assert isinstance(own, GaussianNoise)
        times, sd = grid(task.denoiser, nfe), float(task.denoiser.data_std)
        scales = (task.schedule.alpha(times) ** 2 * sd**2 + task.schedule.sigma(times) ** 2).sqrt().tolist()
        x = task.initial(times[0])
        each = self.zeta * math.sqrt(x[0].numel()) / (len(scales) - 1) / _spread(own, task.denoiser, x)
        for k, (t, s) in enumerate(pairwise(times)):
            a, b, q = (float(v) for v in task.schedule.posterior(s, t))
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                x0 = task.denoise(leaf, t)
                norms = (own.y.to(x0) - own.operator(x0)).flatten(1).norm(dim=1)
                (gradient,) = torch.autograd.grad(norms.sum(), leaf)
            pull = each * scales[k] * scales[k + 1]
            x = a * x + b * x0.detach() + q * task.normal(k + 1) - pull * gradient
            advance()
        return Drawn(x.to(task.dtype))


def _spread(likelihood: GaussianNoise, denoiser: Denoiser, like: Tensor) -> float:
    """The rms of A(m + sd z) - A(m), z normal, by eight draws: what data of the model's spread differ by in y."""
    generator = torch.Generator("cpu").manual_seed(0)
    z = torch.randn(8, *like.shape[1:], dtype=torch.float64, generator=generator, device="cpu")
    middle = torch.zeros_like(z) + torch.as_tensor(denoiser.data_mean, dtype=torch.float64, device="cpu")
    seen = [likelihood.operator(v.to(like)) for v in (middle + float(denoiser.data_std) * z, middle)]
    return max(float((seen[0] - seen[1]).double().square().mean().sqrt()), 1e-30)


@dataclass(frozen=True)
class DDRM(_Walk):
    """Denoising diffusion restoration, for a linear operator small enough to decompose.

    With y~ = y / s_i in a singular direction of value s_i > 0 and noise ratio s of the level, in units of x0: where
    s s_i >= noise the direction takes y~ (share eta_b) with noise up to s; below it the ODE's or the SDE's way (eta).

    Raises:
        ValueError: in use, for a likelihood whose operator has no singular values, or noise that differs between
            observations.
    """

    eta: float = 0.85
    eta_b: float = 1.0

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        if linear_gaussian(likelihood, "DDRM").spectrum is None:
            raise ValueError("DDRM needs the operator's singular values, and the same noise for every observation")

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        system = Whitened(linear_gaussian(task.likelihood, "DDRM"), task.observation)
        spectrum = system.spectrum
        assert spectrum is not None
        values = spectrum.values.to(system.u)
        seen = values > 1e-10 * values.max()
        root = values.where(seen, 1.0).sqrt()
        event = task.likelihood.event_shape

        def known(x: Tensor) -> Tensor:  # V^T x
            return torch.where(seen, spectrum.to(system.forward(x)) / root, 0.0)

        def lift(c: Tensor) -> Tensor:  # V c
            return system.adjoint(spectrum.back(torch.where(seen, c / root, 0.0)))

        y = torch.where(seen, spectrum.to(system.u) / root, 0.0)
        spread = 1 / root  # noise of y~ in units of x0
        times = grid(task.denoiser, nfe)
        ratios = task.schedule.noise_ratio(times).tolist()
        alpha = float(task.schedule.alpha(times[0]))
        x = task.initial(times[0]).flatten(1) / alpha  # in the scale of x0: x0 + ratio eps
        z = task.normal(1).flatten(1)
        start = y + (ratios[0] ** 2 - spread**2).clamp(min=0.0).sqrt() * known(z)
        x = x + lift(torch.where(spread <= ratios[0], start - known(x), 0.0))
        for k, (now, then) in enumerate(pairwise(ratios)):
            a = float(task.schedule.alpha(times[k]))
            x0 = task.denoise((a * x).reshape(-1, *event), times[k]).flatten(1)
            z = task.normal(k + 2).flatten(1)
            keep = math.sqrt(1 - self.eta**2)
            free = x0 + keep * then / now * (x - x0) + self.eta * then * z
            d, n = known(x0), known(z)
            fine = d + keep * then * (y - d) / spread + self.eta * then * n
            rest = (then**2 - (spread * self.eta_b) ** 2).clamp(min=0.0).sqrt()
            coarse = d + self.eta_b * (y - d) + rest * n
            x = free + lift(torch.where(then < spread, fine, coarse) - known(free))
            advance()
        return Drawn(x.reshape(-1, *event).to(task.dtype))


@dataclass(frozen=True)
class DAPS(Method):
    """Decoupled annealing: at each level the ODE's end x0^, then x0 ~ N(x0^, r^2 I) given y, then noise of the next.

    1 / r^2 = (alpha / sigma)^2 + 1 / data_std^2: the paper's r = sigma / alpha, but no wider than the data, or x0 is
    thrown far off at high noise. For a linear operator with Gaussian noise the middle step is exact; otherwise
    `langevin` steps of size `rate` r^2.

    Args:
        ode: evaluations for each ODE.

    Raises:
        ValueError: in use, for fewer evaluations than one level takes.
    """

    ode: int = 4
    langevin: int = 50
    rate: float = 0.05

    def steps(self, nfe: int) -> int:
        if nfe < self.ode:
            raise ValueError(f"nfe must be at least {self.ode}, the evaluations of one level of DAPS; got {nfe}")
        return nfe // self.ode

    def cost(self, nfe: int, dim: int) -> Cost:
        return Cost(self.steps(nfe) * self.ode)

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        exact = isinstance(task.likelihood, GaussianNoise) and isinstance(task.likelihood.operator, LinearOperator)
        system = Whitened(task.likelihood, task.observation) if exact else None  # type: ignore[arg-type]
        schedule, event = task.schedule, task.likelihood.event_shape
        times = grid(task.denoiser, self.steps(nfe))
        x, residual = task.initial(times[0]), None
        for k, (t, s) in enumerate(pairwise(times)):
            ratio = float(schedule.noise_ratio(t))
            x0 = self._ode(task, x, ratio)
            r = 1 / math.hypot(1 / ratio, 1 / task.denoiser.data_std)
            first = 1 + k * (self.langevin + 2)  # of the draws of this level
            z = task.normal(first)
            if system is not None:
                free = (x0 + r * z).flatten(1)
                error = task.normal(first + 1, (system.size,))
                innovation = isotropic(system, r**2)
                x0 = free + r**2 * system.adjoint(innovation.solve(system.residual(free) - error))
                x0, residual = x0.reshape(-1, *event), worst(residual, innovation)
            else:
                x0 = self._langevin(task, x0, r, first)
            alpha, sigma = (float(v) for v in schedule(s))
            x = alpha * x0 + sigma * task.normal(first + self.langevin + 1)
            advance()
        return Drawn(x.to(task.dtype), residual=residual)

    def _ode(self, task: Task, x: Tensor, ratio: float) -> Tensor:
        schedule, sd = task.schedule, task.denoiser.data_std
        solver = recommended(schedule, self.ode, data_std=sd).solver
        times = grids.angular(schedule, self.ode, scale=2 * sd, s_max=ratio * (1 + 1e-9))
        state = State(x, x)
        for step in solver.plan(task.denoiser, times):
            state = solver.step(lambda x_t, t, rows=None: task.denoise(x_t, t), state, step, lambda k: x)
        return state.x

    def _langevin(self, task: Task, centre: Tensor, ratio: float, first: int) -> Tensor:
        own, x, h = task.own, centre, self.rate * ratio**2
        for i in range(self.langevin):
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(own.log_prob(leaf).sum(), leaf)
            drift = gradient - (x - centre) / ratio**2
            x = x + h / 2 * drift + math.sqrt(h) * task.normal(first + i)
        return x


@dataclass(frozen=True)
class REDDiff(_Walk):
    """Regularisation by denoising: Adam on mu, along -grad log p(y | mu) + weight (mu - D(x_t)) / data_std^2.

    x_t = alpha mu + sigma eps with fresh eps, t from noise to data. A point for each sample, near a mode: their spread
    is no posterior spread.
    """

    weight: float = 1.0
    rate: float = 0.1

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        own, sd = task.own, task.denoiser.data_std
        times = grid(task.denoiser, nfe)
        mean = task.denoiser.data_mean
        z = task.normal(0)
        mu = (mean.to(z) if isinstance(mean, Tensor) else mean) + sd * z
        first, second = torch.zeros_like(mu), torch.zeros_like(mu)
        for k, t in enumerate(times[:-1], start=1):
            x0 = task.denoise(task.schedule.perturb(mu, t, task.normal(k)), t)
            leaf = mu.detach().requires_grad_()
            with torch.enable_grad():
                (pull,) = torch.autograd.grad(own.log_prob(leaf).sum(), leaf)
            gradient = -pull + self.weight * (mu - x0) / sd**2
            first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
            scale = (second / (1 - 0.99**k)).sqrt() + 1e-12
            mu = mu - self.rate * sd * first / (1 - 0.9**k) / scale
            advance()
        return Drawn(mu.to(task.dtype))
