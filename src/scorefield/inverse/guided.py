"""Guidance by a likelihood: denoisers of the posterior, for any solver.

If x0 given x_t were normal with covariance C, the posterior mean would be, for y = A x0 + n, n ~ N(0, S),

    E[x0 | x_t, y] = D + C A^T (A C A^T + S)^-1 (y - A D),

and each method is a choice of C, once for the pull on x0 (the first C) and once for what y is expected to vary (the
second):

                      first                        second
    MomentMatching    (sigma^2/alpha) dD/dx        the same                 exact for Gaussian data
    PiGDM             (sigma^2/alpha) dD/dx        c(t) I                   (Song et al. 2023)
    DiffPIR           (sigma/alpha)^2 / w  I       the same                 no vector-Jacobian product (Zhu et al. 2023)
    DDNM              c I, c -> infinity           the same, S = 0          y is taken as exact (Wang et al. 2023)

The result is a Denoiser: `sample` with any solver, likelihoods and `encode` work under it. It has derivatives in x_t of
every order, in reverse mode; MomentMatching's are those of the iterations it took. Where p(x0 | x_t) has several modes
none of them weights these as the posterior does, at any number of steps; `Bridge` and `TwistedSMC` do.

References: Rozet et al. 2024 (moment matching); Song et al. 2023, Pseudoinverse-guided diffusion models; Zhu et al.
2023, Denoising diffusion models for plug-and-play image restoration; Wang et al. 2023, Zero-shot image restoration
using denoising diffusion null-space model.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions, for_each
from scorefield.denoisers import Denoiser
from scorefield.denoisers.gradients import differentiable
from scorefield.inverse.linear import Whitened, isotropic, linear_gaussian
from scorefield.inverse.measurement import Likelihood
from scorefield.inverse.method import PURE, Cost, Drawn, Method, Task, below_pure_noise
from scorefield.inverse.operators import conjugate_gradients
from scorefield.inverse.start import given_data
from scorefield.randomness import Noise
from scorefield.sampling.parts import Bound, initial
from scorefield.schedules import as_time, pad_right
from scorefield.solvers import Solver, recommended
from scorefield.solvers.exact_variance import GaussianVariance, X0Variance

Report = Callable[[Tensor], object]  # given the relative residuals (R,) of each solve


class Guided(Denoiser):
    """E[x0 | x_t, y] by one of the approximations above.

    Called with `observation`, the number of each row's observation, `(R,)` int64 or one for all; where there is only
    one it may be left out. How many rows there are says nothing: solvers and chunks evaluate some of them.

    Args:
        denoiser: of the prior.
        likelihood: Gaussian, its operator linear.

    Raises:
        ValueError: when called without `observation` where there are several.
    """

    vjps = 0  # for one evaluation, at most

    def __init__(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        super().__init__()
        self.denoiser, self.likelihood = denoiser, linear_gaussian(likelihood, type(self).__name__)
        self._like(denoiser)

    def forward(self, x_t: Tensor, t: Tensor | float, observation: Any = None, **cond: Any) -> Tensor:
        told = Conditions.of({"observation": observation, **cond}, len(x_t), x_t.dtype, x_t.device)
        rows = self._rows(x_t, told.pop("observation"))
        system = Whitened(self.likelihood, rows, torch.promote_types(x_t.dtype, torch.float32))
        return self.guide(system, x_t, as_time(t), told)

    @classmethod
    def method(cls, **options: Any) -> Guidance:
        """The way to draw from a posterior that takes this denoiser of it; `options` are of the constructor."""
        return Guidance(cls, options)

    @abc.abstractmethod
    def guide(self, system: Whitened, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        """E[x0 | x_t, y], shape and dtype of `x_t`."""

    def _rows(self, x_t: Tensor, observation: Any) -> Tensor:
        batch = len(self.likelihood)
        if observation is None and batch != 1:
            raise ValueError(
                f"observation must say which of the {batch} observations each row has, cond={{'observation': ...}}; "
                "got none"
            )
        return for_each("observation", 0 if observation is None else observation, x_t)


class MomentMatching(Guided):
    """The whole of Tweedie's covariance, the system solved by conjugate gradients, each row to its own tolerance.

    Where a residual ends near the tolerance, rounding decides on one iteration more: two runs on other kernels, or in
    other batches, then differ by the tolerance, not by rounding. `exact=True` of `Posterior.sample` keeps the bits.

    Args:
        tolerance: on the residual of the solve over its right-hand side.
        limit: vector-Jacobian products a solve may take.
        report: called with the residuals reached, `(R,)`, at every evaluation.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        *,
        tolerance: float = 1e-3,
        limit: int = 20,
        report: Report | None = None,
    ) -> None:
        super().__init__(denoiser, likelihood)
        self.tolerance, self.limit, self.report = tolerance, limit, report
        self.vjps = limit + 1

    def guide(self, system: Whitened, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        x0, covariance = _tweedie(self, x_t, t, cond)

        def product(v: Tensor) -> Tensor:
            return system.forward(covariance(system.adjoint(v)).flatten(1)) + v

        r = system.residual(x0.flatten(1))
        solved = conjugate_gradients(product, r, tolerance=self.tolerance, iterations=self.limit)
        if self.report is not None:
            self.report(solved.residual.detach())
        return x0 + covariance(system.adjoint(solved.x))


class PiGDM(Guided):
    """Pseudoinverse guidance: what y is expected to vary by comes from one variance c(t) of x0.

    Args:
        variance: c(t); that of Gaussian data unless given, sigma^2 / (1 + sigma^2) of the paper for unit variance.
    """

    vjps = 1

    def __init__(self, denoiser: Denoiser, likelihood: Likelihood, *, variance: X0Variance | None = None) -> None:
        super().__init__(denoiser, likelihood)
        self.variance = variance or GaussianVariance()

    def guide(self, system: Whitened, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        x0, covariance = _tweedie(self, x_t, t, cond)
        c = _levels(self.variance.at(self.denoiser, t.reshape(-1)), system)
        return x0 + covariance(system.adjoint(isotropic(system, c).solve(system.residual(x0.flatten(1)))))


class DiffPIR(Guided):
    """The datum nearest to D and to y: argmin |y - A x|^2 / noise_std^2 + weight (alpha / sigma)^2 |x - D|^2.

    Args:
        weight: lambda of the paper; 1 takes x0 as N(D, (sigma / alpha)^2 I).

    Raises:
        ValueError: for a weight that is not positive.
    """

    def __init__(self, denoiser: Denoiser, likelihood: Likelihood, *, weight: float = 1.0) -> None:
        super().__init__(denoiser, likelihood)
        if not weight > 0:
            raise ValueError(f"weight must be positive; got {weight}")
        self.weight = weight

    def guide(self, system: Whitened, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        x0 = self.denoiser(x_t, t, **cond)
        most = (PURE * self.data_std) ** 2  # where alpha = 0, all that y does not say is open
        c = _levels((self.schedule.noise_ratio(t).reshape(-1) ** 2).clamp(max=most), system) / self.weight
        return x0 + (c * system.adjoint(isotropic(system, c).solve(system.residual(x0.flatten(1))))).reshape(x0.shape)


class DDNM(Guided):
    """D with what y says put in the place of what D says of it: D + A^+ (y - A D). For nearly noiseless y.

    Args:
        tolerance: singular directions of A below this share of the largest are left to D.
    """

    def __init__(self, denoiser: Denoiser, likelihood: Likelihood, *, tolerance: float = 1e-4) -> None:
        super().__init__(denoiser, likelihood)
        self.tolerance = tolerance

    def guide(self, system: Whitened, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        x0 = self.denoiser(x_t, t, **cond)
        r = system.residual(x0.flatten(1))
        seen = system.spectrum
        if seen is None:
            solved = conjugate_gradients(
                lambda v: system.forward(system.adjoint(v)), r, tolerance=self.tolerance, iterations=100
            ).x
        else:
            values = seen.values.to(r)
            kept = values > self.tolerance**2 * values.max()
            solved = seen.back(torch.where(kept, seen.to(r) / values.where(kept, 1.0), 0.0))
        return x0 + system.adjoint(solved).reshape(x0.shape)


@dataclass(frozen=True)
class Guidance(Method):
    """Samples of a guided denoiser by any solver that takes steps of its own.

    They start where y puts x_t, for Gaussian data of the denoiser's data_mean and data_std: no other place than the
    prior's unless the process ends at modest noise. `sample` of a guided denoiser always starts at the prior's.

    Args:
        guided: MomentMatching, PiGDM, DiffPIR or DDNM.
        options: of its constructor.
        solver: `solvers.recommended` for the number of evaluations unless given.
    """

    guided: type[Guided] = MomentMatching
    options: Mapping[str, Any] = field(default_factory=dict)
    solver: Solver | None = None

    def check(self, denoiser: Denoiser, likelihood: Likelihood) -> None:
        self.guided(denoiser, likelihood, **self.options)

    def _plan(self, denoiser: Denoiser, nfe: int) -> tuple[Solver, Tensor]:
        if self.solver is None:
            solver, times = recommended(denoiser.schedule, nfe, data_std=denoiser.data_std)
        else:
            solver, times = self.solver.within(denoiser, nfe)
        return solver, below_pure_noise(denoiser, times)

    def cost(self, nfe: int, dim: int) -> Cost:
        most = self.options.get("limit", 20) + 1 if self.guided is MomentMatching else self.guided.vjps
        return Cost(nfe, nfe * most)

    def elements(self, dim: int) -> int:
        return 4 * dim

    def draw(self, task: Task, nfe: int, advance: Callable[[], None]) -> Drawn:
        residual: list[Tensor] = []
        options = dict(self.options)
        if self.guided is MomentMatching:
            options["report"] = residual.append
        guided = self.guided(task.denoiser, task.likelihood, **options)
        cond = Conditions({"observation": task.observation, **task.cond})
        denoise = Bound(guided, cond, len(task.index), slice(None) if task.exact else None)
        noise = Noise(task.seed, task.index, task.likelihood.event_shape, task.dtype)
        solver, times = self._plan(task.denoiser, nfe)
        system = Whitened(guided.likelihood, task.observation)
        state = solver.init(given_data(task, system, times[0], initial(task.denoiser, times[0], noise)))
        for step in solver.plan(guided, times):
            state = solver.step(denoise, state, step, lambda k: noise.normal(k + 1))
            advance()
        return Drawn(state.x, residual=torch.stack(residual).amax(0) if residual else None)


def _tweedie(
    guided: Guided, x_t: Tensor, t: Tensor, cond: Mapping[str, Any]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(D, v -> Cov[x0 | x_t] v for v flattened or not), of one forward pass kept for the reverse ones."""
    alpha, sigma = guided.schedule(t)
    keep = torch.is_grad_enabled() and x_t.requires_grad  # whoever asks may differentiate what is made here
    with differentiable():
        x = x_t if keep else x_t.detach().clone().requires_grad_()
        x0 = guided.denoiser(x, t, **cond)

    def covariance(v: Tensor) -> Tensor:
        with differentiable():
            v = v.reshape(x0.shape).to(x0).clone()
            (product,) = torch.autograd.grad(x0, x, v, retain_graph=True, create_graph=keep)
        # at alpha = 0 D does not depend on x_t, and x0 varies as the data do
        blind = pad_right(alpha == 0, product).to(product.device, torch.bool)
        gain = pad_right(torch.where(alpha == 0, 0.0, sigma**2 / alpha), product)
        return torch.where(blind, guided.data_std**2 * v, gain * product)

    return x0 if keep else x0.detach(), covariance


def _levels(values: Tensor, system: Whitened) -> Tensor | float:
    """The number all rows share, or one for each row `(R, 1)`; of `(N, *event)` the mean over the event."""
    if len(values) and bool((values == values[0]).all()):
        return float(values[0].mean())
    return values.flatten(1).mean(1, keepdim=True).to(system.u) if values.ndim > 1 else values[:, None].to(system.u)
