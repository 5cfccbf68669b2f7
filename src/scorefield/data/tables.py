"""Tables: rows with named columns, as float32 events (d,), and a label column among them.

Text becomes categories, and what is asked for is done to missing values; nothing is repaired unasked. `TableSchema`
says how a row becomes an event and comes back; what was read is said in the source's `said`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scorefield.data._columns import CellError, as_numbers, in_a_line, measured
from scorefield.data._csv import read_text
from scorefield.data._kinds import Origin, found_label, label_of, refuse_infinite, refuse_odd
from scorefield.data.opening import a_file, within
from scorefield.data.schema import Missing, TableSchema
from scorefield.data.sources import Arrays

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIXES = (".csv", ".tsv", ".parquet")
NEEDS_PYARROW = '{}: parquet files need pyarrow: pip install "scorefield[parquet]"'
LEARN = 'say what becomes of it: missing = "drop", "impute" or "learn" (--missing)'


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    missing: Missing = "refuse",
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    schema: TableSchema | Mapping[str, Any] | None = None,
) -> Arrays:
    """A text table, UTF-8.

    Args:
        label: the column of classes; without it, one called label, class, target, species, ... if it has classes; ""
            for none. Whole numbers from 0 are kept as they are; anything else is numbered in order, `class_names`.
        columns: those to read, in this order; without it, all.
        drop: those to leave out.
        categories: columns of numbers that are names, such as codes. Columns of text are categories anyway.
        missing: "refuse" empty cells; "drop" their rows; "impute" the median, or the most frequent category; "learn"
            that they are missing, so that samples miss as many. Rows without their label are left out by all three.
        header: whether the first row names the columns; without it, it does if it is text that does not come again.
        delimiter: a tab for .tsv, else a comma.
        decimal: the point of numbers.
        schema: of another table, which this one is read as: that of what a model was trained on.

    Raises:
        ValueError: naming the file and, for a cell, its line and column: a missing, infinite or unreadable value;
            dates; text that is no category; a row of another length; an unknown or repeated column; no rows.
    """
    path = a_file(path)
    text = read_text(path, header=header, delimiter=delimiter, decimal=decimal)
    origin = Origin(str(path), lambda row: f"line {text.lines[row]}", text.cell)
    return _source(text.frame, origin, label, columns, drop, categories, missing, schema, (text.head,))


def read_parquet(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    missing: Missing = "refuse",
    schema: TableSchema | Mapping[str, Any] | None = None,
) -> Arrays:
    """A parquet table; arguments as in `read_csv`. Rows count from 1 in messages.

    Raises:
        ValueError: without pyarrow; naming the file and, for a value, its row and column: missing or infinite; a column
            that is neither numbers nor text.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise ValueError(NEEDS_PYARROW.format(path)) from None
    import pandas as pd

    path = a_file(path)
    try:
        about = pq.read_metadata(path)
        within(path, about.num_rows * about.num_columns * 8, path.stat().st_size)
        names = pq.read_schema(path).names
        wanted = None
        if columns:
            wanted = [name for name in names if name in columns or label in (None, name)]
        frame = pd.read_parquet(path, columns=wanted, dtype_backend="numpy_nullable")
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: damaged, or not a parquet file ({' '.join(str(error).split())})") from None
    for name in frame.columns[[str(kind).startswith("Float") for kind in frame.dtypes]]:
        frame[name] = frame[name].mask(np.isnan(as_numbers(frame[name])))  # not a number is missing, too
    origin = Origin(str(path), lambda row: f"row {row + 1}", lambda row, column: None)
    return _source(frame, origin, label, columns, drop, categories, missing, schema, ())


def from_frame(
    frame: DataFrame,
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    missing: Missing = "refuse",
    schema: TableSchema | Mapping[str, Any] | None = None,
) -> Arrays:
    """A table of pandas; arguments as in `read_csv`. Rows count from 1 in messages.

    Raises:
        ValueError: as `read_parquet`.
    """
    frame = frame.reset_index(drop=True).copy()
    for name, kind in frame.dtypes.items():
        if str(kind) == "object" or "pyarrow]" in str(kind):  # anything, or numbers that others keep
            frame[name] = frame[name].convert_dtypes(dtype_backend="numpy_nullable")
    origin = Origin("the table", lambda row: f"row {row + 1}", lambda row, column: None)
    return _source(frame, origin, label, columns, drop, categories, missing, schema, ())


def _source(
    frame: Any,
    origin: Origin,
    label: str | None,
    columns: Sequence[str],
    drop: Sequence[str],
    categories: Sequence[str],
    missing: Missing,
    schema: TableSchema | Mapping[str, Any] | None,
    said: Iterable[str],
) -> Arrays:
    if missing not in get_args(Missing):
        raise ValueError(f"missing must be {', '.join(get_args(Missing))}; got {missing!r}")
    frame.columns = [str(name) for name in frame.columns]
    if len(frame) == 0:
        raise ValueError(f"{origin.name}: expected rows of numbers; got none")
    if isinstance(schema, Mapping):
        schema = TableSchema(**{name: value for name, value in schema.items() if name != "type"})
    lines = [f"{origin.name}: {len(frame):,} rows", *said]
    try:
        if schema is None:
            frame, schema, more = _measured(frame, origin, label, columns, drop, categories, missing)
        else:
            frame, more = _as_before(frame, origin, schema)
        x = schema.encode(frame)
        classes = None if schema.label is None or schema.label.name not in frame else schema.classes(frame)
    except CellError as error:
        raise origin.at(int(frame.index[error.row]), error.column, error.reason) from None
    except ValueError as error:
        line = str(error)
        raise error if line.startswith(origin.name) else ValueError(f"{origin.name}, {line}") from None
    return Arrays(
        x,
        classes,
        num_classes=None if schema.label is None else len(schema.label.values),
        class_names=schema.class_names,
        columns=schema.entries,
        table=schema,
        said=("; ".join([*lines, *more, str(schema)]),),
        rows=frame.index.tolist(),
    )


def _measured(
    frame: Any,
    origin: Origin,
    label: str | None,
    columns: Sequence[str],
    drop: Sequence[str],
    categories: Sequence[str],
    missing: Missing,
) -> tuple[Any, TableSchema, list[str]]:
    """The rows that stay, under their old numbers, what the columns are, and what there is to say of it."""
    names, said = list(frame.columns), []
    columns, drop, categories = (_known(origin, names, asked) for asked in (columns, drop, categories))
    if label:
        (label,) = _known(origin, names, [label])
    elif label is None:
        label = found_label(frame, [name for name in names if name not in drop])
        if label is not None and label.lower() != "label":
            said.append(f'label found in {label!r} (label names another column, or none, "")')
    if not columns and names[0] in ("", "Unnamed: 0") and names[0] not in drop and _counts(frame[names[0]]):
        drop = [*drop, names[0]]
        said.append("the first column has no name and counts the rows: left out")
    aside = {label, *drop}
    chosen = [name for name in (columns or names) if name not in aside]
    if not chosen:
        raise ValueError(f"{origin.name}: expected columns of numbers besides {label!r}; got none")
    void = frame[chosen].isna().to_numpy(bool).all(0)
    if void.any() and len(frame) > 1:
        name = chosen[int(void.argmax())]
        raise origin.column(name, f"has no values; leave it out: drop = [{name!r}]")
    kept = _rows_that_stay(frame, origin, chosen, label or None, missing)
    if len(kept) < len(frame):
        what = "with missing values" if missing == "drop" else "without a label"
        said.append(f"{len(frame) - len(kept):,} rows {what} left out")
    clean = frame.loc[kept]
    lacking = set(np.array(chosen, object)[clean[chosen].isna().to_numpy(bool).any(0)])
    made, filled = [], []
    for name in chosen:
        series = clean[name]
        refuse_odd(origin, series, name, name in categories)
        refuse_infinite(origin, series, name)
        lacks = name in lacking
        made.append(measured(series, name, category=name in categories, missing=lacks and missing == "learn"))
        filled += [f"{name} ({int(series.isna().sum())}, {made[-1].fill})"] * (lacks and missing == "impute")
    if filled:
        said.append(f"missing cells filled in: {', '.join(filled)}")
    if learned := [f"{c.name} ({int(clean[c.name].isna().sum())})" for c in made if c.missing]:
        said.append(f"missing cells learned: {', '.join(learned)}")
    kind = label_of(origin, clean[label], label) if label else None
    order = tuple(name for name in (columns or names) if name == label or name not in aside)
    order = order if not label or label in order else (*order, label)
    return clean, TableSchema(tuple(made), kind, order, missing), said


def _as_before(frame: Any, origin: Origin, schema: TableSchema) -> tuple[Any, list[str]]:
    """The rows of a table that is read as another one was."""
    names = [column.name for column in schema.columns]
    _known(origin, list(frame.columns), names)
    label = schema.label.name if schema.label is not None and schema.label.name in frame else None
    refused = replace(schema, missing="refuse")
    said = [f"columns not known to the model: {', '.join(sorted(other))}"] if (
        other := set(frame.columns) - {*names, *schema.order}
    ) else []  # fmt: skip
    strict = [c.name for c in refused.columns if not c.missing] if schema.missing == "learn" else names
    kept = _rows_that_stay(frame, origin, strict, label, schema.missing if schema.missing != "learn" else "refuse")
    if len(kept) < len(frame):
        said.append(f"{len(frame) - len(kept):,} rows with missing values left out")
    clean = frame.loc[kept]
    for column in schema.columns:
        refuse_infinite(origin, clean[column.name], column.name)
    return clean, said


def _rows_that_stay(frame: Any, origin: Origin, names: Sequence[str], label: str | None, missing: Missing) -> Any:
    """Numbers of the rows that are not left out for what they miss."""
    empty = frame[list(names)].isna().to_numpy(bool)
    without = frame[label].isna().to_numpy(bool) if label is not None else np.zeros(len(frame), bool)
    if missing == "refuse":
        for name, gone in (*zip(names, empty.T, strict=True), (label or "", without)):
            if gone.any():
                row = int(gone.argmax())
                cell = origin.cell(row, name)
                raise origin.at(row, name, f"missing value{'' if cell is None else f' ({cell!r})'}; {LEARN}")
    gone = without | empty.any(1) if missing == "drop" else without
    if gone.all():
        raise ValueError(f"{origin.name}: every row has missing values; leave the column out (drop), or {LEARN}")
    return frame.index[~gone]


def _known(origin: Origin, names: list[str], asked: Iterable[str]) -> list[str]:
    """The columns that are asked for, by their own names: case is no matter where it leaves no doubt."""
    found = []
    for name in [asked] if isinstance(asked, str) else asked:
        alike = [name] if name in names else [other for other in names if other.lower() == str(name).lower()]
        if len(alike) != 1:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
            there = ", ".join(map(in_a_line, names[:20])) + (f", ... ({len(names)})" if len(names) > 20 else "")
            way_out = f". Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{origin.name}: no column {name!r}; there are {there}{way_out}")
        found += alike
    return found


def _counts(series: Any) -> bool:
    """Whether it is 0, 1, 2, ... or 1, 2, 3, ..."""
    numbers = np.arange(len(series))
    return not series.isna().any() and series.tolist() in (numbers.tolist(), (numbers + 1).tolist())
