"""Multistep methods: Adams-Bashforth and Adams-Moulton in the coordinates of the field.

With the field F of `fields.py` known at this node and at earlier ones, the integral of

    x_s = keep x_t + int K(v) F(v) dv + noise z

is taken of the polynomial through them: F at k nodes gives order k,

    x_s = keep x_t + sum_j w_j F_j + noise z,    w_j = int K l_j dv,    l_j = prod_{m != j} (v - v_m) / (v_j - v_m).

The predictor (Adams-Bashforth) extrapolates from the nodes t, t_-1, t_-2, ... up to t. The corrector (Adams-Moulton)
repeats the step with F at its end among them, once that is known: the evaluation is the one the next step needs anyway,
so it costs nothing (UniC of Zhao et al. 2023). What it adds is linear too, sum_j (moulton_j - bashforth_j) F_j, and is
added in the next step: a method is nothing but a row of numbers a step.

Grids are of any spacing, weights come from Gauss-Legendre quadrature of K times the Lagrange polynomials, to rounding.

Fields are taken about the data's mean m: a row is meant for x - alpha m, D - m and their F. Where F is not constant
when x = alpha m and D = m, as on the circle, a row therefore adds `of_mean m`, what it would leave out if all data were
m; else the error would grow with m.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.denoisers import Denoiser
from scorefield.schedules import Cosine
from scorefield.solvers.base import Denoise, Normals, Solver, State, Step, finite
from scorefield.solvers.fields import (
    NODES,
    WEIGHTS,
    DataPrediction,
    Field,
    NoisePrediction,
    PathVelocity,
    VariationOfConstants,
)
from scorefield.tensors import as_tensor

TRIGONOMETRIC: Field = PathVelocity(Cosine(0.0))
DATA: Field = DataPrediction()
NOISE: Field = NoisePrediction()
ROUNDING = 1e-11  # of sums of a few weights


class Row(NamedTuple):
    """One step."""

    of_x: float  # F = of_x x + of_x0 D
    of_x0: float
    keep: float
    weights: tuple[float, ...]  # of F at this node and the ones before it
    noise: float
    of_mean: float  # 0 where the row knows a constant without being told
    mean: Tensor | float  # of the data


class RowSolver(Solver):
    """Whatever is a row of numbers a step, and one evaluation; `memory`: fields of earlier steps that a step reads."""

    @property
    @abc.abstractmethod
    def memory(self) -> int: ...

    @property
    def increments(self) -> bool:
        return True

    def step(self, denoise: Denoise, state: State, step: Step, normals: Normals) -> State:
        c: Row = step.coefficients
        x, x0 = state.x, denoise(state.x, step.t)
        field = x0 if c.of_x == 0 else torch.add(x * c.of_x, x0, alpha=c.of_x0)
        fields = (field, *state.past)
        x = x * c.keep
        for weight, f in zip(c.weights, fields, strict=False):
            if weight:
                x = x.add_(f, alpha=weight)
        if c.of_mean:
            # not add_(mean, alpha=): with what is broadcast, its last bit depends on where in the batch a number stands
            x = x.add_((c.mean.to(x) if isinstance(c.mean, Tensor) else c.mean) * c.of_mean)
        if c.noise:
            x = x.add_(normals(step.index), alpha=c.noise)
        return State(x, x0, fields[: self.memory])


def rows(
    denoiser: Denoiser,
    times: Tensor,
    of_x: Tensor | float,
    of_x0: Tensor | float,
    keep: Tensor,
    weights: Tensor,
    noise: Tensor,
) -> list[Row]:
    """The plan on the grid `times` `(N + 1,)`; weights, `(N, W)`: column j of row i belongs to F at node i - j."""
    n, width = weights.shape
    of_x, of_x0 = (as_tensor(c, dtype=torch.float64).expand(n) for c in (of_x, of_x0))
    mean, of_mean = denoiser.data_mean, torch.zeros(n, dtype=torch.float64, device="cpu")
    if bool((as_tensor(mean) != 0).any()):
        alpha = denoiser.schedule.alpha(times)
        field = torch.nn.functional.pad(of_x * alpha[:-1] + of_x0, (width - 1, 0))  # F of x = alpha, D = 1
        seen = field.unfold(0, width, 1).flip(1)  # (N, W), as the weights
        of_mean = alpha[1:] - keep * alpha[:-1] - (weights * seen).sum(1)
        of_mean = torch.where(of_mean.abs() > ROUNDING, of_mean, 0.0)
    columns = (of_x.tolist(), of_x0.tolist(), keep.tolist(), weights.tolist(), noise.tolist(), of_mean.tolist())
    found = enumerate(zip(*columns, strict=True))
    return [Row(p, q, a, tuple(w[: i + 1]), c, m, mean) for i, (p, q, a, w, c, m) in found]


@dataclass(frozen=True)
class Multistep(RowSolver):
    """Variable-step Adams methods in any `Field`; one evaluation a step.

        x_s = keep x_t + sum_j w_j F_j + noise z,    F at t and at the nodes before it, w_j = int K l_j dv.

    Args:
        order: the predictor reads F at `order` nodes, or at one fewer with a corrector, which reads one more; at the
            start, as many as there are.
        field: what is extrapolated: F, v and K.
        corrector: correct each step with the evaluation at its end, at no cost.
        finish: the order to finish with ("lower order final" elsewhere): nodes the last predictor reads on a grid that
            ends at sigma = 0; the one before it reads one more, and so on up to all. The exponential fields, whose step
            to sigma = 0 is infinitely long in lambda, take it with 1 whatever this says.
        midpoint: read a straight line through two nodes in the middle of the step instead of integrating it against
            the kernel, as DPM-Solver++(2M) and UniPC (B2) were published.
        eta: 0 for the ODE, 1 for the reverse SDE, anything between or above. A step to sigma = 0 takes no noise.
        quiet: nor do steps that end below this noise ratio sigma / (alpha data_std): from there on the method is the
            ODE's, quiet (0: noise to the end). Noise is harmless where the field is smooth and costs accuracy near the
            data, where modes are narrow.

    Raises:
        ValueError: for an order outside 1 to 5 (2 to 5 with a corrector), a finish below 1, or a negative eta or quiet;
            in sampling, for a field that is infinite at the start of the grid.
    """

    order: int = 4
    field: Field = TRIGONOMETRIC
    corrector: bool = True
    finish: int = 1
    midpoint: bool = False
    eta: float = 0.0
    quiet: float = 0.0

    def __post_init__(self) -> None:
        name, lowest = type(self).__name__, 1 + self.corrector
        if not lowest <= self.order <= 5:
            raise ValueError(f"{name}: order must be {lowest} to 5 with corrector={self.corrector}; got {self.order}")
        if self.finish < 1 or not (self.eta >= 0 and self.quiet >= 0):
            raise ValueError(
                f"{name}: finish must be at least 1, eta and quiet at least 0; "
                f"got {self.finish}, {self.eta} and {self.quiet}"
            )

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    @property
    def memory(self) -> int:
        return self.order - self.corrector

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        ratio = denoiser.schedule.noise_ratio(s)
        noisy = (ratio > 0) & (ratio >= self.quiet * denoiser.data_std)
        times = torch.cat([t, s[-1:]])
        exact = self.field.on_grid(denoiser, times, self.eta * noisy.double())
        n, most = len(t), self.order - self.corrector
        nodes = torch.arange(1, n + 1, device="cpu").clamp(max=most)
        if float(denoiser.schedule.sigma(s[-1])) == 0:
            nodes = torch.minimum(nodes, torch.arange(n, 0, -1, device="cpu") + self.finish - 1)
        nodes = torch.where(torch.isfinite(exact.variable[1:]), nodes, 1)
        weights = torch.zeros(n, most + 1, dtype=torch.float64, device="cpu")
        predictor = _weights(exact, nodes, 0, most, self.midpoint)
        weights[:, :-1] = predictor
        if self.corrector and n > 1:
            # the correction of step i - 1, x_t <- x_t + sum_j (moulton_j - bashforth_j) F_j, is made in step i
            correction = _weights(exact, nodes, 1, most + 1, self.midpoint)
            correction[:, 1:] -= predictor
            weights[1:] += exact.keep[1:, None] * correction[:-1]
        finite(self, t, x=exact.keep, field=weights.sum(1), noise=exact.noise)
        return rows(denoiser, times, exact.of_x, exact.of_x0, exact.keep, weights, exact.noise)


def _weights(exact: VariationOfConstants, nodes: Tensor, ahead: int, width: int, midpoint: bool) -> Tensor:
    """int K(v) l_j(v) dv over each step, `(N, width)`: column j belongs to the node `j - ahead` steps before its start.

    l_j are the Lagrange polynomials of the first `nodes + ahead` columns, `nodes` `(N,)`; the others have weight 0.
    """
    v = torch.where(torch.isfinite(exact.variable), exact.variable, 0.0)
    columns = torch.arange(width, device="cpu")
    used = columns < (nodes + ahead)[:, None]  # (N, width)
    at = v[(torch.arange(len(nodes), device="cpu")[:, None] + ahead - columns).clamp(min=0)]
    start, h = v[:-1, None], v.diff()[:, None]
    points = start + h * (1 + NODES) / 2  # (N, Q)
    kernel = WEIGHTS * exact.kernel(points)
    kernel = kernel / kernel.sum(1, keepdim=True)
    if midpoint:
        points = torch.where((nodes + ahead == 2)[:, None], start + h / 2, points)
    # l_j is the product of (v - v_m) / (v_j - v_m) over the other nodes m
    others = used[:, None, :] & ~torch.eye(width, dtype=torch.bool, device="cpu")
    gaps = torch.where(others, at[:, :, None] - at[:, None, :], 1.0)
    factors = torch.where(others[..., None], (points[:, None, None, :] - at[:, None, :, None]) / gaps[..., None], 1.0)
    average = (factors.prod(2) * kernel[:, None, :]).sum(2)
    return torch.where(used, average, 0.0) * exact.mass[:, None]


@dataclass(frozen=True)
class DPMSolverPP(Multistep):
    """DPM-Solver++(2M) and, with order = 3, (3M) (Lu et al. 2022b); with eta = 1, SDE-DPM-Solver++.

    With h = lambda_s - lambda_t and r = (lambda_t - lambda_-1) / h, 2M is

        x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) [(1 + 1 / 2r) D_t - (1 / 2r) D_-1],

    its SDE form

        x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s (1 - e^-2h) [the same] + sigma_s sqrt(1 - e^-2h) z,

    and 3M integrates the parabola through D_t, D_-1 and D_-2 in lambda against the kernel.
    """

    order: int = 2
    field: Field = DATA
    corrector: bool = False
    midpoint: bool = True


@dataclass(frozen=True)
class DEIS(Multistep):
    """DEIS with polynomials in lambda (Zhang & Chen 2023), which is DPM-Solver's multistep form.

    x_s = (alpha_s / alpha_t) x_t + sum_j w_j eps_j,
    w_j = -alpha_s int_{lambda_t}^{lambda_s} e^-lambda l_j dlambda.
    """

    order: int = 3
    field: Field = NOISE
    corrector: bool = False


@dataclass(frozen=True)
class UniPC(Multistep):
    """UniPC (Zhao et al. 2023), B2, data prediction. Its UniPC-p is of order p + 1, which is the `order` here.

    UniPC-2 predicts with DPM-Solver++(2M) and corrects, once D_s is known, by

        x_s <- (sigma_s / sigma_t) x_t + sum_j w_j D_j over D_s, D_t and D_-1,
        w_j = sigma_s int_{lambda_t}^{lambda_s} e^lambda l_j dlambda.
    """

    order: int = 3
    field: Field = DATA
    midpoint: bool = True


@dataclass(frozen=True)
class SASolver(Multistep):
    """Stochastic Adams (Xue et al. 2023): any eta = tau, exact kernels, predictor and corrector with one noise.

    x_s = (sigma_s / sigma_t) e^(-tau^2 h) x_t + sum_j w_j D_j + sigma_s sqrt(1 - e^(-2 tau^2 h)) z,
    w_j = (1 + tau^2) sigma_s int_{lambda_t}^{lambda_s} e^(lambda - tau^2 (lambda_s - lambda)) l_j dlambda.
    """

    order: int = 4
    field: Field = DATA
    eta: float = 1.0


@dataclass(frozen=True)
class StochasticAdams(Multistep):
    """The SDE on the circle while the noise exceeds the data, sigma > alpha data_std, and the ODE from there on.

    With z = cos(theta) x0 / sd + sin(theta) eps, F = dz/du, u = 2 theta / pi and k = cos(theta_t) / cos(theta_s),

        z_s = k z_t + sum_j w_j F_j + sqrt(1 - k^2) n,    w_j = 2 int cos(theta) / cos(theta_s) l_j du.

    Gaussian data of standard deviation data_std, for which F = 0, keep it exactly, in any number of steps. By `quiet`
    the start is forgotten (e^-4 of it is left at s = 80), so that what a trained model gets wrong at high noise is
    drawn anew rather than carried along. Given a number of evaluations only, it takes the grid it was tuned with.
    """

    eta: float = 1.0
    quiet: float = 1.0

    def within(self, denoiser: Denoiser, nfe: int | None) -> tuple[Solver, Tensor]:
        nfe = self.budget(nfe)
        return self, grids.angular(denoiser.schedule, nfe, power=1.5, scale=1.5 * denoiser.data_std, onset=1.0)
