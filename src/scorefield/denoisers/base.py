"""Denoisers: E[x0 | x_t], the one thing every method here is built on.

From D(x_t, t) = E[x0 | x_t] Tweedie's formula gives the rest,

    eps   = (x_t - alpha D) / sigma
    score = -eps / sigma = grad log p_t
    v     = alpha eps - sigma D
    dx/dt = alpha' D + sigma' eps                       (velocity of the probability-flow ODE)
    Cov[x0 | x_t] = (sigma^2 / alpha) dD/dx_t           (second order)

so a model is whatever can denoise, and it carries the schedule of the noise it removes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from scorefield._caller import warn
from scorefield.distributions import Distribution
from scorefield.schedules import PriorMoments, Schedule
from scorefield.tensors import require_batch

OF_DATA = 10.0  # sigma / alpha below which the start is not noise alone: 1% of unit data's variance

F = TypeVar("F", bound=Callable[..., Any])


class Unstated(float):
    """What is taken for a statistic of the data that nobody gave; numbers made of it are plain floats."""


class Denoiser(nn.Module):
    """`denoiser(x_t, t, **cond)` is E[x0 | x_t], of the shape and dtype of `x_t` `(B, *event)`; `t` is `()` or `(B,)`.

    Write your own by setting `schedule` and defining `forward(x_t, t, **cond)`: nothing else is required. What reaches
    it as a condition is what `scorefield.conditions` says: tensors `(B, ...)`, and what all samples share. `data_mean`
    and `data_std` describe the data (where sampling starts, and how solvers place their steps); 0 and 1 unless known.
    `data_range` is the smallest and the largest entry the data can have, None where there is none or it is not known:
    `sample` says how many samples left it, and `ClippedDenoiser` keeps predictions inside. A checkpoint's is that of
    its transform. `origin` is the law at t = 1 where it is another than the noise's (see `Flow`), and `lacks` says what
    can't be had of it, and why: a "score", a "density", a "velocity".

    Whatever evaluates a model as a whole (`sample`, `log_prob`, `encode`, posteriors, ...) does so in eval mode, and
    leaves each module in the mode it was in. The denoiser itself, the views of it (`score`, ...) and the losses run in
    the mode it is in: those one differentiates and trains.

    Raises:
        ValueError: when called, where `forward` gives another shape than that of x_t.
    """

    schedule: Schedule
    data_mean: Tensor | float = Unstated(0.0)
    data_std: float = Unstated(1.0)
    data_range: tuple[float, float] | None = None
    origin: Distribution | None = None
    lacks: Mapping[str, str] = MappingProxyType({})

    def __call__(self, x_t: Tensor, t: Tensor | float, *args: Any, **cond: Any) -> Tensor:
        require_batch("x_t", x_t)
        x0: Any = super().__call__(x_t, t, *args, **cond)
        return shaped(type(self).__name__, x0, x_t)

    def prior(self, t: Tensor | float = 1.0) -> PriorMoments:
        """The Gaussian of x_t's mean and variance, N(alpha data_mean, alpha^2 data_std^2 + sigma^2): where sampling
        starts. It says so where much of it hangs on statistics that nobody gave."""
        share = float(self.schedule.noise_ratio(t))
        if isinstance(self.data_std, Unstated) and share < OF_DATA:
            warn(
                f"at t = {float(t):g} sigma / alpha is {share:.3g}: where sampling starts depends on the data's "
                "mean and standard deviation; 0 and 1 are taken, since none were given: set data_mean and data_std of "
                f"{type(self).__name__}",
            )
        return self.schedule.prior(t, mean=self.data_mean, std=self.data_std)

    def _like(self, denoiser: Denoiser) -> None:
        """Takes over the schedule of another, and what it says of its data."""
        require_denoiser("denoiser", denoiser)
        self.schedule, self.data_mean, self.data_std = denoiser.schedule, denoiser.data_mean, denoiser.data_std
        self.data_range = denoiser.data_range
        self.origin, self.lacks = denoiser.origin, denoiser.lacks


def shaped(who: str, output: Any, x_t: Tensor, channels: int | None = None) -> Tensor:
    """`output`, a prediction for `x_t`; of objects that carry one as `sample`, and of 1-tuples, the tensor in them, and
    of that the first `channels`.

    Raises:
        ValueError: for another shape than that of x_t: broadcast against it, it would train and score without a word.
        TypeError: for anything else.
    """
    if not isinstance(output, Tensor):
        held = cast("tuple[Any, ...]", output) if isinstance(output, tuple) else (getattr(output, "sample", None),)
        inner = held[0] if len(held) == 1 else None
        if not isinstance(inner, Tensor):
            kind = type(cast(object, output)).__name__
            raise TypeError(f"{who} must return a tensor of the shape of x_t; got {kind}")
        output = inner
    if channels is not None:
        output = output[:, :channels]
    if output.shape != x_t.shape:
        half = x_t.ndim > 1 and output.shape == (len(x_t), 2 * x_t.shape[1], *x_t.shape[2:])
        hint = f"; if the second half predicts a variance, say channels={x_t.shape[1]}" if half else ""
        raise ValueError(f"{who} must return the shape of x_t, {tuple(x_t.shape)}; got {tuple(output.shape)}{hint}")
    return output


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Generator[None, None, None]:
    """In eval mode meanwhile, and every module in its own mode again afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    if not any(training for _, training in modes):
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train(modes[0][1])
        for m, training in modes:
            m.training = training


def require_denoiser(name: str, value: Any) -> None:
    """Refuses what is no denoiser, and says how it becomes one.

    Raises:
        TypeError: for anything but an nn.Module with a schedule.
    """
    if isinstance(value, nn.Module) and isinstance(getattr(value, "schedule", None), Schedule):
        return
    if why := getattr(value, "lacks", {}).get("score"):
        raise TypeError(f"{name} must be a Denoiser, E[x0 | x_t]; {type(value).__name__} has no score: {why}")
    how = (
        "sf.NetworkDenoiser(net, schedule, target)"
        if isinstance(value, nn.Module)
        else "sf.ExactDenoiser(law, schedule)"
    )
    raise TypeError(f"{name} must be a Denoiser, E[x0 | x_t] with a schedule; got {type(value).__name__}: see {how}")


def require(denoiser: nn.Module, what: str, who: str) -> None:
    """Refuses a denoiser that has no `what`, a "score", "density" or "velocity", for `who` asks for it.

    Raises:
        ValueError: with the reason that it gives.
    """
    if why := getattr(denoiser, "lacks", {}).get(what):
        raise ValueError(f"{who}: {type(denoiser).__name__} has no {what}: {why}")


def in_eval_mode(function: F) -> F:
    """A function of a `denoiser`, its first argument, which is in eval mode while it runs."""

    @functools.wraps(function)
    def evaluated(denoiser: nn.Module, *args: Any, **kwargs: Any) -> Any:
        require_denoiser("denoiser", denoiser)
        with evaluating(denoiser):
            return function(denoiser, *args, **kwargs)

    return cast(F, evaluated)
