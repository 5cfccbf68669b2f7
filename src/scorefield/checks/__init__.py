"""The contracts of the library's parts, as lists of named checks: run them on your own.

    sf.checks.check_schedule(MySchedule())                  all, in order; raises where one fails

    @sf.checks.parametrize([MySchedule(), MySolver()])      each as a test of its own
    def test_my_parts(check):
        check.run()

Each check returns None or raises AssertionError with the clause that failed and the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from scorefield.checks.base import Check as Check
from scorefield.checks.base import marked, name_of
from scorefield.checks.denoisers import check_denoiser, check_flow_map, of_denoiser
from scorefield.checks.intervals import check_interval, of_interval
from scorefield.checks.likelihoods import check_likelihood, of_likelihood
from scorefield.checks.losses import check_loss, check_objective, of_loss, of_objective
from scorefield.checks.operators import check_operator, of_operator
from scorefield.checks.schedules import check_schedule, of_schedule
from scorefield.checks.solvers import check_solver, convergence_slopes, of_solver, tolerance_slope
from scorefield.checks.transforms import check_transform, of_transform
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.inverse.measurement import Likelihood
from scorefield.inverse.operators import Operator
from scorefield.schedules import Schedule
from scorefield.solvers import Solver
from scorefield.training import Objective

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Check",
    "check_denoiser",
    "check_flow_map",
    "check_interval",
    "check_likelihood",
    "check_loss",
    "check_objective",
    "check_operator",
    "check_schedule",
    "check_solver",
    "check_transform",
    "checks_of",
    "convergence_slopes",
    "of_interval",
    "of_loss",
    "parametrize",
    "tolerance_slope",
]

KINDS: tuple[tuple[type, Callable[..., list[Check]]], ...] = (
    (Schedule, of_schedule),
    (Solver, of_solver),
    (Objective, of_objective),
    (Denoiser, of_denoiser),
    (Operator, of_operator),
    (Likelihood, of_likelihood),
    (Transform, of_transform),
)


def checks_of(part: Any, *arguments: Any, **options: Any) -> list[Check]:
    """What a part owes the others, clause by clause; its kind is told by its class, and a function is a loss.

    Args:
        part: a schedule, solver, denoiser, flow map, objective, operator, likelihood, transform, or a loss.
        arguments, options: of the `check_*` of that kind, after the part: a denoiser's event shape, a transform's raw
            data, a likelihood's x0, a loss's `distribution`, or `of=FlowMap` for one that trains such.

    Raises:
        TypeError: for a part of no such kind.
    """
    for kind, checks in KINDS:
        if isinstance(part, kind):
            return checks(part, *arguments, **options)
    if callable(part) and not isinstance(part, type | nn.Module):
        return of_loss(cast(Any, part), *arguments, **options)
    kinds = ", ".join(kind.__name__ for kind, _ in KINDS)
    raise TypeError(f"part must be a {kinds} or a loss; got {name_of(part)}")


def parametrize(parts: Iterable[Any], *, expected_failures: Mapping[str, str] | None = None) -> pytest.MarkDecorator:
    """A test for each check of each part: the test takes `check` and calls `check.run()`.

    Args:
        parts: schedules, solvers, losses, ...; or lists of checks, as `checks_of(denoiser, (2,))` returns them, for
            parts that need an argument.
        expected_failures: reasons, by "part: check" or by the check's name for all parts. Such a test is an expected
            failure, and fails when the check holds after all.

    Raises:
        ValueError: for an expected failure of a check that there is not.
        TypeError: as `checks_of`.
    """
    checks = [check for part in parts for check in (part if isinstance(part, list) else checks_of(part))]
    return marked(checks, expected_failures)
