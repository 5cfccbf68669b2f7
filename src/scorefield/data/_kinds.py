"""What a table's columns are, and which of them cannot be used, in a line that says where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from scorefield.data._columns import Label, as_numbers, item, measured
from scorefield.data._csv import is_number

LABELS = ("label", "labels", "class", "target", "y", "species", "category", "diagnosis", "outcome")  # looked for
MOST_VALUES = 200  # of a category: one entry of an event each
MOST_CLASSES = 1000
FEW_ROWS = 20  # in which all values may differ and still be categories

_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?")


class Origin(NamedTuple):
    """Where a table comes from, as messages say it."""

    name: str
    where: Callable[[int], str]  # of a row from 0: "line 3"
    cell: Callable[[int, str], str | None]  # as it is written, where that is known

    def at(self, row: int, column: str, reason: str) -> ValueError:
        return ValueError(f"{self.name}, {self.where(row)}, column {column!r}: {reason}")

    def column(self, column: str, reason: str) -> ValueError:
        return ValueError(f"{self.name}, column {column!r}: {reason}")


def found_label(frame: Any, names: list[str]) -> str | None:
    """A column that is called as labels are, and has classes. y beside x is a coordinate."""
    lower = {name.lower(): name for name in names}
    for candidate in LABELS:
        name = lower.get(candidate)
        if name is None or (len(names) == 1 and candidate != "label") or (candidate == "y" and "x" in lower):
            continue
        values = frame[name].dropna()
        distinct = values.nunique()
        few = len(values) <= FEW_ROWS or distinct <= min(len(values) // 2, MOST_CLASSES)
        if _is_text(values):
            numbers = False
        else:
            numbers, few = True, few and _whole(values) and (candidate == "label" or distinct <= FEW_ROWS)
        if few and (not numbers or candidate == "label" or len(values) > FEW_ROWS):
            return name
    return None


def label_of(origin: Origin, series: Any, name: str) -> Label:
    """What the classes are; whole numbers from 0 that leave few out are the classes' own."""
    import pandas as pd

    values = sorted(item(value) for value in series.astype(object).unique())
    many = len(values) > MOST_CLASSES or (len(values) > FEW_ROWS and 2 * len(values) > len(series))
    if many:
        raise origin.column(name, f"{len(values):,} different values in {len(series):,} rows are no classes")
    refuse_odd(origin, series, name, True)
    numeric = not _is_text(series)
    dtype = measured(series, name, category=True, missing=False).dtype
    if numeric and not pd.api.types.is_bool_dtype(series.dtype) and _whole(series):
        values = [int(v) for v in values]
        if values[0] >= 0 and values[-1] < max(FEW_ROWS, 4 * len(values)):
            values = list(range(values[-1] + 1))
    found = {item(value): int(n) for value, n in series.astype(object).value_counts().items()}  # 1.0 is 1
    return Label(name, dtype, tuple(values), tuple(found.get(value, 0) for value in values))


def _is_text(series: Any) -> bool:
    import pandas as pd

    return not (pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype))


def _whole(series: Any) -> bool:
    numbers = series.to_numpy(np.float64)
    return bool((np.isfinite(numbers) & (numbers == np.round(numbers))).all())


def refuse_odd(origin: Origin, series: Any, name: str, category: bool) -> None:
    """Refuses dates, what is neither numbers nor text, numbers with a typo, and text that is no category."""
    import pandas as pd

    kind = series.dtype
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise origin.column(name, _dates(str(series.dropna().iloc[0])))
    if pd.api.types.is_complex_dtype(kind):
        raise origin.column(name, f"expected numbers or text; got {kind}; leave it out: drop = [{name!r}]")
    if not _is_text(series):
        if category and not pd.api.types.is_bool_dtype(kind):
            _refuse_many(origin, series, name)
        return
    try:
        counts = series.astype(object).value_counts()  # of the words, which are few or no category
    except TypeError:  # lists, say
        kept = type(series.dropna().iloc[0]).__name__
        raise origin.column(name, f"expected numbers or text; got {kept}; leave it out: drop = [{name!r}]") from None
    if odd := [word for word in counts.index if not isinstance(word, str | int | bool)]:
        if hasattr(odd[0], "isoformat"):
            raise origin.column(name, _dates(str(odd[0])))
        way_out = f"leave it out: drop = [{name!r}]"
        raise origin.column(name, f"expected numbers or text; got {type(odd[0]).__name__}; {way_out}")
    if isinstance(kind, pd.CategoricalDtype):
        return
    words, share = [str(word) for word in counts.index], counts.to_numpy(np.float64) / max(int(counts.sum()), 1)
    if share @ [_DATE.fullmatch(word) is not None for word in words] > 0.5:
        raise origin.column(name, _dates(next(word for word in words if _DATE.fullmatch(word))))
    numbers = [is_number(word) for word in words]
    if not category and share @ numbers >= 0.5 and not all(numbers):
        typos = {word for word, number in zip(words, numbers, strict=True) if not number}
        row, word = next((row, str(word)) for row, word in series.dropna().items() if str(word) in typos)
        way_out = f"; or is it a category? Then say categories = [{name!r}]"
        raise origin.at(row, name, f"expected a finite number; got {word!r}{way_out}")
    _refuse_many(origin, series.dropna(), name)


def _refuse_many(origin: Origin, series: Any, name: str) -> None:
    distinct, n = series.nunique(), len(series)
    if distinct > MOST_VALUES or (n > FEW_ROWS and 2 * distinct > n):
        some = ", ".join(repr(cell) for cell in series.unique()[:2].tolist())
        raise origin.column(
            name,
            f"{distinct:,} different values in {n:,} rows ({some}, ...) are no category; "
            f"leave it out: drop = [{name!r}]",
        )


def refuse_infinite(origin: Origin, series: Any, name: str) -> None:
    """Refuses a column of numbers by the first infinite one."""
    if _is_text(series):
        return
    wrong = np.isinf(as_numbers(series))
    if wrong.any():
        row = int(series.index[int(wrong.argmax())])
        cell = origin.cell(row, name)
        got = f"{series.loc[row]}" if cell is None else repr(cell)
        raise origin.at(row, name, f"expected a finite number; got {got}")


def _dates(example: str) -> str:
    return (
        f"expected numbers or categories; got dates ({example!r}): put numbers in their place, such as days since the "
        "first, or the month, or leave the column out (drop)"
    )
