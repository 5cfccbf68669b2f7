"""A check: one clause of a contract, with a name, about one part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Check:
    """One clause about one part; `run` returns None or raises AssertionError with the numbers."""

    part: str  # whose: "VP"
    name: str  # the clause: "alpha(0) is 1"
    clause: Callable[[], None]

    def run(self) -> None:
        """Raises AssertionError where the clause does not hold, with the numbers."""
        self.clause()

    def __str__(self) -> str:
        return f"{self.part}: {self.name}"


def listed(part: Any, clauses: Mapping[str, Callable[[], None]]) -> list[Check]:
    """The clauses as checks of `part`."""
    return [Check(name_of(part), name, clause) for name, clause in clauses.items()]


def name_of(part: Any) -> str:
    """What a part is called: its class, or the function's name; of a partial that of what it calls."""
    part = getattr(part, "func", part)
    return getattr(part, "__name__", type(part).__name__)


def run(checks: Iterable[Check]) -> None:
    """All, in order; the first that fails ends it."""
    for check in checks:
        check.run()


def marked(checks: Iterable[Check], expected_failures: Mapping[str, str] | None) -> pytest.MarkDecorator:
    """`pytest.mark.parametrize("check", ...)` over the checks; see `parametrize`.

    Raises:
        ValueError: for an expected failure of a check that there is not.
    """
    import pytest

    checks, reasons = list(checks), dict(expected_failures or {})
    used, cases = set[str](), []
    for check in checks:
        keys = [key for key in (str(check), check.name) if key in reasons]
        used.update(keys)
        marks = [pytest.mark.xfail(reason=reasons[keys[0]], raises=AssertionError, strict=True)] if keys else []
        cases.append(pytest.param(check, id=str(check), marks=marks))
    if unknown := sorted(reasons.keys() - used):
        raise ValueError(f"expected_failures names no check: {unknown[0]!r}; there are {', '.join(map(str, checks))}")
    return pytest.mark.parametrize("check", cases)


def require(holds: bool, clause: str, got: object) -> None:
    """Refuses what does not hold.

    Raises:
        AssertionError: with the clause and the numbers.
    """
    if not holds:
        raise AssertionError(f"{clause}; got {got}")


def close(got: Tensor, expected: Tensor, clause: str, tolerance: float) -> None:
    """|got - expected| <= tolerance (1 + |expected|) of every entry."""
    got, expected = got.detach(), expected.detach()
    require(got.shape == expected.shape, f"{clause}: of shape {tuple(expected.shape)}", tuple(got.shape))
    worst = float(((got - expected).abs() / (1 + expected.abs())).max()) if got.numel() else 0.0
    require(worst <= tolerance, f"{clause} within {tolerance:g}", f"{worst:.3g}")
