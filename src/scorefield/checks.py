"""The contracts of the library's parts, as functions: run them on your own.

Each returns None or raises AssertionError with the clause that failed and the numbers.

    sf.checks.check_schedule(MySchedule())
    sf.checks.check_denoiser(my_denoiser, (3, 32, 32))
    sf.checks.check_solver(MySolver())
    sf.checks.check_loss(my_loss)
    sf.checks.check_operator(my_operator)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser, ExactDenoiser, NetworkDenoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.distributions import Distribution, Gaussian, GaussianMixture
from scorefield.inverse.operators.contract import check_operator as check_operator
from scorefield.networks import MLP
from scorefield.parameterizations import V
from scorefield.randomness import Stream
from scorefield.sampling import sample
from scorefield.schedules import EDM, VP, Cosine, Schedule
from scorefield.solvers import RungeKutta, Solver, discretisation_bias
from scorefield.solvers.tableaus import DORMAND_PRINCE

f64 = torch.float64


def check_schedule(schedule: Schedule) -> None:
    """alpha(0) = 1; lambda falls strictly and has its inverse; g^2 is not negative; transitions compose.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    t = torch.linspace(0.02, 0.98, 49, dtype=f64, device="cpu")
    alpha, sigma = schedule(t)
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        _require(value.shape == t.shape and value.dtype == f64, f"{name}(t) must be float64 of t's shape", value)
        _require(bool((torch.isfinite(value) & (value > 0)).all()), f"{name} must be positive inside (0, 1)", value)
    _require(abs(float(schedule(0.0)[0]) - 1) < 1e-6, "alpha(0) must be 1", schedule(0.0)[0])
    log_snr = schedule.log_snr(t)
    _require(bool((log_snr.diff() < 0).all()), "log_snr must fall strictly", log_snr)
    _require(bool((schedule.g2(t) >= 0).all()), "g2 must not be negative", schedule.g2(t))
    _close(schedule.time_of_log_snr(log_snr), t, "time_of_log_snr(log_snr(t)) must be t", 1e-8)
    (a, p), (b, q) = schedule.transition(t[:-2], t[1:-1]), schedule.transition(t[1:-1], t[2:])
    whole = schedule.transition(t[:-2], t[2:])
    _close(whole.scale, a * b, "transition scales must compose", 1e-9)
    _close(whole.std**2, q**2 + (b * p) ** 2, "transition variances must compose", 1e-7)


@in_eval_mode
@torch.no_grad()
def check_denoiser(denoiser: Denoiser, event_shape: Sequence[int], *, cond: Mapping[str, Any] | None = None) -> None:
    """Shape and dtype of x_t; a time for all or for each; no sample depends on its neighbours; empty batches.

    `cond` holds the conditions of a batch of 4: see `scorefield.conditions`.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), torch.zeros((), device="cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, *event_shape), generator=generator, dtype=own.dtype, device="cpu").to(own.device)
    told = Conditions.of(cond, 4, x.dtype, x.device)
    for t in (0.05, 0.5, 0.95):
        x0 = denoiser(x, torch.tensor(t, dtype=f64, device="cpu"), **told)
        _require(x0.shape == x.shape and x0.dtype == x.dtype, "the denoiser must return x_t's shape and dtype", x0)
        _require(bool(torch.isfinite(x0).all()), f"E[x0 | x_t] must be finite at t = {t}", x0)
        each = denoiser(x, torch.full((4,), t, dtype=f64, device="cpu"), **told)
        _close(each, x0, "a time for each sample must agree with one time for all", 1e-4)
        for i in range(4):
            row = slice(i, i + 1)
            alone = denoiser(x[row], torch.tensor(t, dtype=f64, device="cpu"), **told.rows(row))
            _close(alone, x0[i : i + 1], "a sample alone must agree with the same in a batch", 1e-4)
    empty = denoiser(x[:0], torch.tensor(0.5, dtype=f64, device="cpu"), **told.rows(slice(0, 0)))
    _require(empty.shape == x[:0].shape, "an empty batch must come back empty", empty)


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
    for schedule in (VP(), EDM()):
        denoiser = _mixture(schedule)
        times = grids.uniform_log_snr(schedule, 12, s_max=60.0)
        _check_conventions(solver, denoiser, times)
    if solver.stochastic:
        (_check_statistics if solver.adaptive else _check_bias)(solver)
    elif solver.adaptive:
        slope = tolerance_slope(solver)
        _require(abs(slope - 1) < 0.25, "the error must be proportional to the tolerance; measured power", slope)
    else:
        slopes = convergence_slopes(solver)
        _require(
            all(abs(slope - solver.order) < 0.2 for slope in slopes),
            f"order must be {solver.order} within 0.2; measured slopes",
            slopes,
        )


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


def check_loss(
    loss: Callable[..., Tensor], *, distribution: Distribution | None = None, schedule: Schedule | None = None
) -> None:
    """Shape, dtype, seeds, batch independence, empty batches; a gradient for every parameter; the exact minimum.

    `loss(denoiser, x0, *, t, eps, generator)` must return `(B,)`, each entry a function of its own sample and draws,
    and be smaller on average at the exact denoiser of `distribution` than at shifted, scaled and bent ones: 16,384
    samples, the same draws for both, and an excess beyond 4 standard errors of the difference.

    Args:
        loss: bind a weight, a law of t or whatever it needs with functools.partial.
        distribution: of the data, on vectors: a Gaussian on the plane unless given. A loss that knows the exact answer
            (`losses.explicit`) must know this one's.
        schedule: VP() unless given.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    data = distribution or Gaussian(
        torch.tensor([0.6, -0.3], dtype=f64, device="cpu"), torch.tensor([0.5, 0.2], dtype=f64, device="cpu")
    )
    schedule = schedule or VP()
    _check_draws(loss, data, schedule)
    exact = ExactDenoiser(data, schedule)
    x0 = data.sample(16_384, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.4, len(x0), dtype=f64, device="cpu")
    stream = functools.partial(Stream, 1, torch.arange(len(x0), device="cpu"))
    best = loss(exact, x0, t=t, generator=stream()).detach()
    for name, change in _CHANGES.items():
        excess = loss(_Changed(exact, change), x0, t=t, generator=stream()).detach() - best
        beyond = float(excess.mean()) * len(x0) ** 0.5 / float(excess.std())
        _require(
            beyond > 4, f"a {name} denoiser must cost more than the exact one, by 4 standard errors", f"{beyond:.3g}"
        )


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "shifted": lambda x0: x0 + 0.3,
    "shrunk": lambda x0: 0.7 * x0,
    "stretched": lambda x0: 1.3 * x0,
    "bent": lambda x0: x0 + 0.3 * torch.sin(3 * x0),
}


class _Changed(Denoiser):
    """change(D)."""

    def __init__(self, denoiser: Denoiser, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.denoiser, self.change, self.schedule = denoiser, change, denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return self.change(self.denoiser(x_t, t, **cond))


def _check_draws(loss: Callable[..., Tensor], data: Distribution, schedule: Schedule) -> None:
    """What a loss owes its caller, with a small network that has every kind of parameter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP(math.prod(data.event_shape), hidden=16, depth=2).double()
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.3)
    denoiser = NetworkDenoiser(net, schedule, V())
    x0 = data.sample(5, generator=torch.Generator().manual_seed(0)).to(f64)
    index = torch.tensor([7, 0, 3, 2**40, 12], device="cpu")
    t, eps = (
        torch.tensor([0.2, 0.35, 0.5, 0.65, 0.8], dtype=f64, device="cpu"),
        torch.linspace(-2, 2, x0.numel(), dtype=f64, device="cpu"),
    )
    eps = eps.reshape(x0.shape)

    value = loss(denoiser, x0, generator=Stream(0, index))
    _require(value.shape == (5,) and value.dtype == f64, "the loss must be (B,), of x0's dtype", value)
    _require(bool(torch.isfinite(value).all()), "the loss must be finite", value)
    value.mean().backward()
    for name, p in denoiser.named_parameters():
        reached = p.grad is not None and bool(torch.isfinite(p.grad).all() and (p.grad != 0).any())
        _require(reached, f"the gradient must reach {name}, finite and not zero", p.grad)

    with torch.no_grad():
        _close(loss(denoiser, x0, generator=Stream(0, index)), value, "the loss must not need gradients enabled", 1e-12)
    fixed = loss(denoiser, x0, t=t, eps=eps, generator=Stream(0, index))
    for i in range(5):
        row = slice(i, i + 1)
        alone = loss(denoiser, x0[row], generator=Stream(0, index[row]))
        _close(alone, value[row], "a sample's loss must not depend on its batch, its Stream given", 1e-9)
        alone = loss(denoiser, x0[row], t=t[row], eps=eps[row], generator=Stream(0, index[row]))
        _close(alone, fixed[row], "a sample's loss must not depend on its batch, t and eps given", 1e-9)
    one, same, other = (loss(denoiser, x0, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    _require(torch.equal(one, same), "the same seed must give the same loss", (one - same).abs().max())
    _require(not torch.equal(one, other), "another seed must give another loss", other)
    empty = loss(denoiser, x0[:0], generator=Stream(0, index[:0]))
    _require(empty.shape == (0,), "an empty batch must give an empty loss", empty)


def _check_conventions(solver: Solver, denoiser: Denoiser, times: Tensor) -> None:
    for dtype in (torch.float32, f64):
        previews: list[tuple[Tensor, Tensor]] = []
        run = functools.partial(sample, denoiser, (16, 2), solver=solver, times=times, seed=3, dtype=dtype)
        x = run(callback=lambda t, x, x0, previews=previews: previews.append((x, x0))).x
        _require(x.shape == (16, 2) and x.dtype == dtype, f"samples must be (16, 2) in {dtype}", x)
        _require(bool(torch.isfinite(x).all()), "samples must be finite", x)
        chunks = run(chunk=15).x  # and one alone
        again = x if torch.equal(x, chunks) else run().x
        _require(torch.equal(x, again), "the same seed must give the same samples", (x - again).abs().max())
        _require(torch.equal(x, chunks), "samples must not depend on the batch", (x - chunks).abs().max())
        last, x0 = previews[-1]
        gap = float((last - x0).abs().max())  # a multistep method adds what it learned of the curve, O(s_min) = 0.002
        _require(gap < 0.01, "the step to sigma = 0 must end at E[x0 | x_t]", gap)
    other = sample(denoiser, (16, 2), solver=solver, times=times, seed=4, dtype=f64).x
    _require(not torch.equal(x, other), "another seed must give other samples", other)
    empty = sample(denoiser, (0, 2), solver=solver, times=times).x
    _require(empty.shape == (0, 2), "an empty batch must come back empty", empty)


def _check_bias(solver: Solver) -> None:
    """Of Gaussian data's mean and std, computed: within 4% in 400 evaluations, and nearer than in 200."""
    denoiser = _gaussian()
    coarse, fine = (
        discretisation_bias(solver, denoiser.schedule, solver.within(denoiser, nfe)[1], data_std=denoiser.data_std)
        for nfe in (200, 400)
    )
    for name, before, after in (("mean", coarse.mean, fine.mean), ("std", coarse.std, fine.std)):
        _require(abs(after - 1) < 0.04, f"{name} of Gaussian data must be right within 4% in 400 evaluations", after)
        nearer = abs(after - 1) < 0.75 * abs(before - 1) + 1e-4
        _require(nearer, f"{name} of Gaussian data must be nearer in 400 evaluations than in 200", (before, after))


def _check_statistics(solver: Solver) -> None:
    """Mean and std of N(1, 0.5^2) from 4,096 samples: 5 standard errors (probability 6e-7), and 2% for the steps."""
    n, mean, std = 4096, 1.0, 0.5
    x = sample(_gaussian(), (n, 1), solver=solver, dtype=f64).x
    _require(abs(float(x.mean()) - mean) < 5 * std / n**0.5 + 0.02 * std, "mean of Gaussian data must be 1", x.mean())
    _require(abs(float(x.std()) / std - 1) < 5 / (2 * n) ** 0.5 + 0.02, "std of Gaussian data must be 0.5", x.std())


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


def _require(holds: bool, clause: str, got: object) -> None:
    if not holds:
        raise AssertionError(f"{clause}; got {got}")


def _close(got: Tensor, expected: Tensor, clause: str, tolerance: float) -> None:
    got, expected = got.detach(), expected.detach()
    worst = float(((got - expected).abs() / (1 + expected.abs())).max()) if got.numel() else 0.0
    _require(worst <= tolerance, f"{clause} within {tolerance:g}", f"{worst:.3g}")
