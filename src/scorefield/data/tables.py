"""Tables: rows of numbers with named columns, as float32 events (d,), and a label column among them.

Nothing is filled in. A missing value is refused with its row and column: what should stand there is a modelling
decision.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scorefield.data.sources import Arrays

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # in lower case


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    header: bool | None = None,
    delimiter: str | None = None,
) -> Arrays:
    """A text table, UTF-8.

    Args:
        label: the column of classes; without it, a column called "label" if there is one. Whole numbers from 0 are
            kept as they are; anything else is numbered in sorted order and kept in `class_names`.
        columns: those to read, in this order; without it, all.
        header: whether the first row names the columns; without it, it does if any of its cells is not a number.
        delimiter: a tab for .tsv, else a comma.

    Raises:
        ValueError: naming the file and, for a cell, its line and column: a missing, infinite or unreadable value; a
            row of another length; an unknown or repeated column; no rows.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter or ("\t" if path.suffix.lower() == ".tsv" else ","))
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text table ({error})") from None
    first = rows[0][1] if rows else []
    if header is None:
        header = not all(_is_number(cell) or cell.lower() in MISSING for cell in first)
    names = first if header else [f"column {j + 1}" for j in range(len(first))]
    rows = rows[1:] if header else rows
    if not rows:
        raise ValueError(f"{path}: expected rows of numbers; got none")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: expected {len(names)} cells; got {len(row)}")
    lines = [line for line, _ in rows]
    cells = dict(zip(names, zip(*(row for _, row in rows), strict=True), strict=True))
    chosen, label = _choose(path, names, label, columns)
    numbers = [_numbers(path, name, cells[name], lines) for name in chosen]
    return _table(path, numbers, chosen, None if label is None else _missing_refused(path, label, cells[label], lines))


def read_parquet(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
) -> Arrays:
    """A parquet table; `label` and `columns` as in `read_csv`. Rows count from 1 in messages.

    Raises:
        ValueError: without pyarrow; naming the file and, for a value, its row and column: null or infinite; a column
            that is not numbers.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise ValueError(f'{path}: parquet files need pyarrow: pip install "scorefield[parquet]"') from None
    path = Path(path)
    try:
        schema = pq.read_schema(path)
        chosen, label = _choose(path, schema.names, label, columns)
        table = pq.read_table(path, columns=[*chosen, *([] if label is None else [label])])
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: damaged, or not a parquet file ({error})") from None
    if table.num_rows == 0:
        raise ValueError(f"{path}: expected rows of numbers; got none")
    for name in table.column_names:
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True) + 1
            raise ValueError(f"{path}, row {row}, column {name!r}: missing value")
    numbers = []
    for name in chosen:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"{path}, column {name!r}: expected numbers; got {kind}")
        values = np.asarray(table[name].to_numpy(), dtype=np.float64)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"{path}, row {row + 1}, column {name!r}: expected a finite number; got {values[row]}")
        numbers.append(values)
    return _table(path, numbers, chosen, None if label is None else table[label].to_pylist())


def _choose(
    path: Path, names: Sequence[str], label: str | None, columns: Sequence[str]
) -> tuple[list[str], str | None]:
    """The columns of numbers and the label column."""
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ValueError(f"{path}: columns must have different names; {repeated[0]!r} is there twice")
    label = label if label is not None or "label" not in names else "label"
    for name in (*columns, *([] if label is None else [label])):
        if name not in names:
            raise ValueError(f"{path}: no column {name!r}; there are {', '.join(names)}")
    chosen = [name for name in (columns or names) if name != label]
    if not chosen:
        raise ValueError(f"{path}: expected columns of numbers besides {label!r}; got none")
    return chosen, label


def _table(path: Path, numbers: list[Any], columns: list[str], labels: Sequence[Any] | None) -> Arrays:
    x = torch.from_numpy(np.stack(numbers, axis=1))
    if labels is None:
        return Arrays(_float32(path, x, columns), columns=columns)
    whole = [int(v) if _is_number(v) and float(v).is_integer() and float(v) >= 0 else None for v in labels]
    if None not in whole:
        return Arrays(_float32(path, x, columns), torch.tensor(whole, device="cpu"), columns=columns)
    names = sorted({str(v) for v in labels})
    number = {name: i for i, name in enumerate(names)}
    label = torch.tensor([number[str(v)] for v in labels], device="cpu")
    return Arrays(_float32(path, x, columns), label, class_names=names, columns=columns)


def _float32(path: Path, x: torch.Tensor, columns: list[str]) -> torch.Tensor:
    narrow = x.to(torch.float32)
    if not bool(torch.isfinite(narrow).all()):
        row, column = torch.nonzero(~torch.isfinite(narrow))[0].tolist()
        raise ValueError(f"{path}, column {columns[column]!r}: {x[row, column]:g} is too large for float32")
    return narrow


def _numbers(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
        if all(map(math.isfinite, values)):
            return values
    except ValueError:
        pass
    _missing_refused(path, name, cells, lines)
    i = next(i for i, cell in enumerate(cells) if not (_is_number(cell) and math.isfinite(float(cell))))
    raise ValueError(f"{path}, line {lines[i]}, column {name!r}: expected a finite number; got {cells[i]!r}")


def _missing_refused(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> Sequence[str]:
    for cell, line in zip(cells, lines, strict=True):
        if cell.lower() in MISSING:
            raise ValueError(f"{path}, line {line}, column {name!r}: missing value ({cell!r})")
    return cells


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
