"""One column of a table: what it is found to be, into an event, and out of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

Kind = Literal["number", "boolean", "category"]

DIGITS = 6  # after the point, beyond which a number is taken to have all it can
FEW = 10  # whole numbers, no more than these, and as many rows of each, are taken for categories


_DTYPE = re.compile("text|category|bool(ean)?|[Uu]?[Ii]nt(8|16|32|64)|[Ff]loat(16|32|64)")


class CellError(ValueError):
    """A cell that cannot be used; who read the table says in which line it stands.

    Attributes:
        row: from 0.
    """

    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(f"row {row + 1}, column {column!r}: {reason}")
        self.row, self.column, self.reason = row, column, reason


class Column(NamedTuple):
    """A column of the table, as plain values."""

    name: str
    kind: Kind
    dtype: str  # pandas' name of its type; "category" and "text" for text
    values: tuple[Any, ...] = ()  # of a category, in order
    decimals: int | None = None  # of a number: digits after the point, 0 for whole numbers; None for any
    low: float = 0.0  # of a number
    high: float = 1.0
    fill: Any = None  # what stands for a missing cell: the median, or the most frequent value
    missing: bool = False  # whether missing cells have an entry of their own

    @property
    def whole(self) -> bool:
        """Whether a number has no digits after the point."""
        return self.kind == "number" and self.decimals == 0

    @property
    def entries(self) -> tuple[str, ...]:
        """Their names in the event, as scikit-learn calls them."""
        name = in_a_line(self.name)
        if self.kind == "category":
            return tuple(in_a_line(f"{name}_{value}") for value in self.values) + (f"{name}_missing",) * self.missing
        return (name, *(f"missingindicator_{name}",) * self.missing)

    def check(self) -> None:
        """Refuses what no table has, since a checkpoint of a stranger may say it.

        Raises:
            ValueError: for that.
        """
        right = {
            "name": isinstance(self.name, str),
            "kind": self.kind in get_args(Kind),
            "dtype": isinstance(self.dtype, str) and _DTYPE.fullmatch(self.dtype) is not None,
            "values": _plain(self.values) and bool(self.values) == (self.kind == "category"),
            "decimals": self.decimals is None or (isinstance(self.decimals, int) and 0 <= self.decimals <= DIGITS),
            "low and high": all(isinstance(v, int | float) for v in (self.low, self.high)) and self.low <= self.high,
            "missing": isinstance(self.missing, bool),
            "fill": not self.missing or self.kind == "category" or isinstance(self.fill, int | float),
        }
        if wrong := [name for name, fine in right.items() if not fine]:
            raise ValueError(f"a table's column has no such {wrong[0]}: {tuple(self)!r:.200}")


class Label(NamedTuple):
    """The column of classes."""

    name: str
    dtype: str
    values: tuple[Any, ...]  # of the classes 0, 1, ...
    counts: tuple[int, ...]  # how many of each

    def check(self) -> None:
        """As `Column.check`.

        Raises:
            ValueError: for names, values or counts that no table has.
        """
        typed = isinstance(self.name, str) and isinstance(self.dtype, str) and _DTYPE.fullmatch(self.dtype)
        counted = _plain(self.counts) and all(isinstance(n, int) and n >= 0 for n in self.counts)
        if not (
            typed and _plain(self.values) and counted and len(self.values) == len(self.counts) and sum(self.counts)
        ):
            raise ValueError(f"a table has no such label column: {tuple(self)!r:.200}")


def _plain(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str | int | float) for value in values)


def measured(series: Any, name: str, *, category: bool, missing: bool) -> Column:
    """A column as it is in the data: its kind, categories, digits, range, and what stands for a missing cell.

    Args:
        series: of pandas' nullable types, at least one cell of it there.
        category: whether numbers in it are names.
        missing: whether missing cells are learned.
    """
    import pandas as pd

    # types that know no missing cells are what users expect where there are none
    dtype = _type_name(series.dtype, missing)
    if pd.api.types.is_bool_dtype(series.dtype) and not category:
        return Column(name, "boolean", dtype, fill=bool(series.mode().iloc[0]), missing=missing)
    if category or not pd.api.types.is_numeric_dtype(series.dtype):
        counts = {item(value): int(n) for value, n in series.astype(object).value_counts().items()}
        values = tuple(sorted(counts))
        fill = max(values, key=lambda value: counts[value])  # the first of several, as scikit-learn
        return Column(name, "category", dtype, values, fill=fill, missing=missing)
    numbers = as_numbers(series)
    numbers = numbers[~np.isnan(numbers)]
    decimals = _decimals(numbers)
    if decimals == 0 and _are_codes(numbers):
        return measured(series, name, category=True, missing=missing)
    fill = float(np.median(numbers)) if decimals != 0 else float(np.sort(numbers)[(len(numbers) - 1) // 2])
    low, high = float(numbers.min()), float(numbers.max())
    return Column(name, "number", dtype, (), decimals, low, high, fill, missing)


def _are_codes(numbers: np.ndarray) -> bool:
    """Whether whole numbers are few enough to count each; of two that follow each other rounding makes the same."""
    values = np.unique(numbers)
    return len(values) <= min(FEW, len(numbers) // FEW) and not (len(values) <= 2 and np.ptp(values) <= 1)


def as_numbers(series: Any) -> np.ndarray:
    """Float64, NaN where a cell is missing."""
    return series.to_numpy(np.float64, na_value=np.nan)


def _type_name(dtype: Any, missing: bool) -> str:
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
        return "text"
    name = str(dtype)
    return name if missing else {"boolean": "bool"}.get(name, name.lower())


def _decimals(numbers: np.ndarray) -> int | None:
    for digits in range(DIGITS + 1):
        if np.array_equal(np.round(numbers, digits), numbers):
            return digits
    return None


def encoded(column: Column, series: Any, absent: np.ndarray) -> np.ndarray:
    """`(N, entries)` float64."""
    missing = absent[:, None].astype(np.float64)[:, : int(column.missing)]
    if column.kind == "category":
        codes = codes_of(series, column.values)
        codes[absent] = -1 if column.missing else column.values.index(column.fill)
        if (unknown := (codes < 0) & ~absent).any():
            row = int(unknown.argmax())
            reason = f"{item(series.iloc[row])!r} is not among its categories, {listed(column.values)}"
            raise CellError(row, column.name, reason)
        return np.concatenate([(codes[:, None] == np.arange(len(column.values))).astype(np.float64), missing], axis=1)
    try:
        numbers = np.where(absent, 0.0 if column.fill is None else column.fill, as_numbers(series))
    except (TypeError, ValueError):
        raise ValueError(f"column {column.name!r}: expected numbers; got {series.dtype}") from None
    if not np.isfinite(numbers).all():
        row = int(np.isfinite(numbers).argmin())
        raise CellError(row, column.name, f"expected a finite number; got {numbers[row]}")
    return np.concatenate([numbers[:, None], missing], axis=1)


def decoded(column: Column, x: np.ndarray) -> Any:
    import pandas as pd

    if column.kind == "category":
        best = x.argmax(1)
        return of_values(column.values, [k if k < len(column.values) else None for k in best], column.dtype)
    absent = x[:, 1] > 0.5 if column.missing else np.zeros(len(x), bool)
    if column.kind == "boolean":
        numbers = (x[:, 0] > 0.5).astype(np.float64)
    else:
        numbers = x[:, 0].clip(column.low, column.high)
        numbers = numbers if column.decimals is None else np.round(numbers, column.decimals)
    series = pd.Series(numbers, dtype="Float64")
    series[absent] = pd.NA
    return series.astype(column.dtype)


def of_values(values: Sequence[Any], codes: Sequence[int | None], dtype: str) -> Any:
    import pandas as pd

    cells = [None if k is None else values[k] for k in codes]
    if dtype == "category":
        return pd.Series(pd.Categorical(cells, categories=list(values)))
    if dtype == "text":
        return pd.Series(cells, dtype=pd.Series(["text"]).dtype)
    return pd.Series(cells, dtype=dtype)


def item(value: Any) -> Any:
    """A plain value of one that may be NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def in_a_line(text: str) -> str:
    """Without line ends, which cells and names may have."""
    return " ".join(text.split())


def codes_of(series: Any, values: Sequence[Any]) -> np.ndarray:
    """The place of each cell among `values`, int64; -1 where it is none of them."""
    number = {value: k for k, value in enumerate(values)}
    codes = series.astype(object).map(number).to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isnan(codes), -1, codes).astype(np.int64)


def listed(values: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(in_a_line(str(value)) for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} in all)"
