"""What a solver owes whoever samples with it: conventions, and the right answer."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scorefield import grids
from scorefield.checks.base import Check, listed, require, run
from scorefield.denoisers import Denoiser, ExactDenoiser
from scorefield.distributions import Gaussian, GaussianMixture
from scorefield.sampling import sample
from scorefield.schedules import EDM, VP, Cosine, Schedule
from scorefield.solvers import RungeKutta, Solver, discretisation_bias
from scorefield.solvers.tableaus import DORMAND_PRINCE

f64 = torch.float64


def of_solver(solver: Solver) -> list[Check]:
    """The clauses of `check_solver`, each by itself; samples are drawn once for all."""
    runs = [_Runs(solver, schedule, dtype) for schedule in (VP(), EDM()) for dtype in (torch.float32, f64)]

    def every(clause: Callable[[_Runs], None]) -> Callable[[], None]:
        def over() -> None:
            for r in runs:
                clause(r)

        return over

    clauses = {
        "shapes and dtypes": every(_shapes), "seeds": every(_seeds), "no sample sees its batch": every(_alone),
        "the last step": every(_last), "empty batches": every(_empty),
    }  # fmt: skip
    if solver.stochastic and solver.adaptive:
        clauses["mean and std of its samples"] = lambda: _check_statistics(solver)
    elif solver.stochastic:
        clauses["mean and std of Gaussian data"] = lambda: _check_bias(solver)
    elif solver.adaptive:
        clauses["error follows the tolerance"] = lambda: _follows(solver)
    else:
        clauses["order of convergence"] = lambda: _converges(solver)
    return listed(solver, clauses)


def check_solver(solver: Solver) -> None:
    """Shapes, dtypes, seeds, batch independence, empty batches, the last step; and the answer: order, or mean and std.

    A deterministic solver must converge to the exact probability-flow solution of a Gaussian mixture at its stated
    `order`, within 0.2; an adaptive one, a dataclass with fields `rtol` and `atol`, in proportion to them. What a
    stochastic one makes of the mean and standard deviation of Gaussian data is computed by `discretisation_bias`, which
    takes steps that are affine in x, E[x0 | x] and the noise: within 4% in 400 evaluations, and nearer than in 200. The
    samples of an adaptive stochastic one must have them.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_solver(solver))


def convergence_slopes(solver: Solver, *, steps: Sequence[int] = (120, 240, 480)) -> list[float]:
    """log2 of the ratio of global errors as the steps are halved, on a mixture between t = 0.9 and t = 0.3.

    The grid is uniform but for its first step, which is halved again and again towards t = 0.9: a multistep method has
    to start with a low order, and there it can afford to.
    """
    denoiser, x_t, exact = _reference()
    errors = []
    for n in steps:
        times = grids.uniform(n, t_max=0.9, t_min=0.3)
        start = 0.9 - (0.9 - times[1]) * 0.5 ** torch.arange(15, 0, -1, dtype=f64, device="cpu")
        times = torch.cat([times[:1], start, times[1:]])
        x = sample(denoiser, x_t, solver=solver, times=times).x
        errors.append(float((x - exact).square().mean().sqrt()))
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def tolerance_slope(solver: Solver) -> float:
    """The power of the tolerance that the error follows from 1e-4 to 1e-8, on the same mixture, from node to node."""
    denoiser, x_t, exact = _reference()
    errors = []
    for tolerance in (1e-4, 1e-8):
        tight = dataclasses.replace(solver, rtol=tolerance, atol=tolerance)  # type: ignore[type-var]
        x = sample(denoiser, x_t, solver=tight, times=torch.tensor([0.9, 0.3], dtype=f64, device="cpu")).x
        errors.append(float((x - exact).square().mean().sqrt()))
    return math.log10(errors[0] / errors[1]) / 4


@dataclasses.dataclass(frozen=True, eq=False)
class _Runs:
    """A few samples of a mixture, drawn when first asked for."""

    solver: Solver
    schedule: Schedule
    dtype: torch.dtype

    @functools.cached_property
    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """(samples, the state after the last step, the last prediction)."""
        seen: list[tuple[Tensor, Tensor]] = []
        x = self.drawn(callback=lambda t, x, x0: seen.append((x, x0)))
        return x, *seen[-1]

    def drawn(self, n: int = 16, seed: int = 3, **options: object) -> Tensor:
        times = grids.uniform_log_snr(self.schedule, 12, s_max=60.0)
        return sample(
            _mixture(self.schedule),
            (n, 2),
            solver=self.solver,
            times=times,
            seed=seed,
            dtype=self.dtype,
            **options,  # type: ignore[arg-type]
        ).x


def _shapes(r: _Runs) -> None:
    x, *_ = r.whole
    require(x.shape == (16, 2) and x.dtype == r.dtype, f"samples must be (16, 2) in {r.dtype}", x)
    require(bool(torch.isfinite(x).all()), "samples must be finite", x)


def _seeds(r: _Runs) -> None:
    x, *_ = r.whole
    again = r.drawn()
    require(torch.equal(x, again), "the same seed must give the same samples", (x - again).abs().max())
    if r.dtype == f64:
        other = r.drawn(seed=4)
        require(not torch.equal(x, other), "another seed must give other samples", other)


def _alone(r: _Runs) -> None:
    x, *_ = r.whole
    chunks = r.drawn(chunk=15)  # and one alone
    require(torch.equal(x, chunks), "samples must not depend on the batch", (x - chunks).abs().max())


def _last(r: _Runs) -> None:
    _, last, x0 = r.whole
    gap = float((last - x0).abs().max())  # a multistep method adds what it learned of the curve, O(s_min) = 0.002
    require(gap < 0.01, "the step to sigma = 0 must end at E[x0 | x_t]", gap)


def _empty(r: _Runs) -> None:
    empty = r.drawn(0)
    require(empty.shape == (0, 2), "an empty batch must come back empty", empty)


def _follows(solver: Solver) -> None:
    slope = tolerance_slope(solver)
    require(abs(slope - 1) < 0.25, "the error must be proportional to the tolerance; measured power", slope)


def _converges(solver: Solver) -> None:
    slopes = convergence_slopes(solver)
    right = all(abs(slope - solver.order) < 0.2 for slope in slopes)
    require(right, f"order must be {solver.order} within 0.2; measured slopes", slopes)


def _check_bias(solver: Solver) -> None:
    """Of Gaussian data's mean and std, computed: within 4% in 400 evaluations, and nearer than in 200."""
    denoiser = _gaussian()
    coarse, fine = (
        discretisation_bias(solver, denoiser.schedule, solver.within(denoiser, nfe)[1], data_std=denoiser.data_std)
        for nfe in (200, 400)
    )
    for name, before, after in (("mean", coarse.mean, fine.mean), ("std", coarse.std, fine.std)):
        require(abs(after - 1) < 0.04, f"{name} of Gaussian data must be right within 4% in 400 evaluations", after)
        nearer = abs(after - 1) < 0.75 * abs(before - 1) + 1e-4
        require(nearer, f"{name} of Gaussian data must be nearer in 400 evaluations than in 200", (before, after))


def _check_statistics(solver: Solver) -> None:
    """Mean and std of N(1, 0.5^2) from 4,096 samples: 5 standard errors (probability 6e-7), and 2% for the steps."""
    n, mean, std = 4096, 1.0, 0.5
    x = sample(_gaussian(), (n, 1), solver=solver, dtype=f64).x
    require(abs(float(x.mean()) - mean) < 5 * std / n**0.5 + 0.02 * std, "mean of Gaussian data must be 1", x.mean())
    require(abs(float(x.std()) / std - 1) < 5 / (2 * n) ** 0.5 + 0.02, "std of Gaussian data must be 0.5", x.std())


def _gaussian() -> ExactDenoiser:
    return ExactDenoiser(
        Gaussian(torch.ones(1, dtype=f64, device="cpu"), torch.full((1,), 0.25, dtype=f64, device="cpu")), VP()
    )


def _mixture(schedule: Schedule) -> ExactDenoiser:
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=f64, device="cpu")
    means = torch.tensor([[1.0, 0.0], [-0.8, 0.9], [-0.3, -1.1]], dtype=f64, device="cpu")
    covariances = torch.tensor([[0.3, 0.1], [0.2, 0.2], [0.1, 0.4]], dtype=f64, device="cpu") ** 2
    return ExactDenoiser(GaussianMixture(weights, means, covariances), schedule)


@functools.cache
def _reference() -> tuple[Denoiser, Tensor, Tensor]:
    """(denoiser, x at t = 0.9, the probability-flow solution at t = 0.3 to 1e-14: 500 steps of fifth order)."""
    denoiser = _mixture(Cosine(alpha_min=0.0))
    x_t = sample(denoiser, (64, 2), times=torch.tensor([1.0, 0.9], dtype=f64, device="cpu"), dtype=f64).x
    times = grids.uniform(500, t_max=0.9, t_min=0.3)
    return denoiser, x_t, sample(denoiser, x_t, solver=RungeKutta(DORMAND_PRINCE), times=times).x
