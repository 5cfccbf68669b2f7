"""What a schedule owes whoever uses it."""

from __future__ import annotations

import torch
from torch import Tensor

from scorefield.checks.base import Check, close, listed, require, run
from scorefield.schedules import Schedule

f64 = torch.float64


def of_schedule(schedule: Schedule) -> list[Check]:
    """The clauses of `check_schedule`, each by itself."""
    t = torch.linspace(0.02, 0.98, 49, dtype=f64, device="cpu")

    def shapes() -> None:
        for name, value in zip(("alpha", "sigma"), schedule(t), strict=True):
            require(value.shape == t.shape and value.dtype == f64, f"{name}(t) must be float64 of t's shape", value)
            require(bool((torch.isfinite(value) & (value > 0)).all()), f"{name} must be positive inside (0, 1)", value)

    def data() -> None:
        require(abs(float(schedule(0.0)[0]) - 1) < 1e-6, "alpha(0) must be 1", schedule(0.0)[0])

    def falls() -> None:
        log_snr = schedule.log_snr(t)
        require(bool((log_snr.diff() < 0).all()), "log_snr must fall strictly", log_snr)

    def diffusion() -> None:
        require(bool((schedule.g2(t) >= 0).all()), "g2 must not be negative", schedule.g2(t))

    def inverse() -> None:
        close(schedule.time_of_log_snr(schedule.log_snr(t)), t, "time_of_log_snr(log_snr(t)) must be t", 1e-8)

    def transitions() -> None:
        (a, p), (b, q) = schedule.transition(t[:-2], t[1:-1]), schedule.transition(t[1:-1], t[2:])
        whole = schedule.transition(t[:-2], t[2:])
        close(whole.scale, a * b, "transition scales must compose", 1e-9)
        close(whole.std**2, q**2 + (b * p) ** 2, "transition variances must compose", 1e-7)

    def times() -> None:
        each: Tensor = torch.stack([schedule.alpha(u) for u in t])
        close(each, schedule.alpha(t), "alpha must be elementwise in t", 1e-12)

    return listed(
        schedule,
        {
            "shapes and dtypes": shapes, "elementwise in t": times, "alpha(0) is 1": data, "log-SNR falls": falls,
            "g^2 is not negative": diffusion, "time of log-SNR": inverse, "transitions compose": transitions,
        },
    )  # fmt: skip


def check_schedule(schedule: Schedule) -> None:
    """alpha(0) = 1; lambda falls strictly and has its inverse; g^2 is not negative; transitions compose.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_schedule(schedule))
