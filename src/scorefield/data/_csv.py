"""Text tables through pandas, with what it does not say: where each row stands, and whether the first one is names."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")  # in any case
SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_COMPARED = 1000  # rows that the first one is compared with


class Text(NamedTuple):
    """A text table as it was read; missing cells are missing, text is stripped."""

    frame: DataFrame
    lines: Sequence[int]  # where each row of `frame` ends in the file
    head: str  # where the names come from
    path: Path
    delimiter: str

    def cell(self, row: int, column: str) -> str:
        """What stands there, as it is in the file."""
        place = list(self.frame.columns).index(column)
        with _opened(self.path) as file:
            for line, cells in _rows(file, self.delimiter):
                if line == self.lines[row]:
                    return cells[place].strip()
        raise ValueError(f"{self.path} changed while it was read")


def is_number(cell: str) -> bool:
    """As a table writes it: 1_000 and 0x1f are none."""
    return _NUMBER.fullmatch(cell) is not None


def is_missing(cell: str) -> bool:
    """Whether the cell says that it is empty."""
    return cell.lower() in MISSING


def read_text(path: Path, *, header: bool | None, delimiter: str | None, decimal: str) -> Text:
    """The table in the file.

    Raises:
        ValueError: naming the file, and the line where there is one: no text, no rows, rows of unequal length, a first
            row that may be names or data, columns of one name.
    """
    import pandas as pd

    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        with _opened(path) as file:
            rows = _rows(file, delimiter)
            line, first = next(rows, (0, []))
            if len(first) == 1 and (found := [s for s in SEPARATORS if s in first[0]]):
                raise ValueError(
                    f"{path}: one column, {first[0][:60]!r}: is {SEPARATORS[found[0]]} between the cells? Then say "
                    f"delimiter = {found[0]!r}"
                )
            some, lines = [], []
            for row_line, cells in rows:
                if len(cells) != len(first):
                    raise ValueError(f"{path}, line {row_line}: expected {len(first)} cells; got {len(cells)}")
                lines.append(row_line)
                if len(some) < _COMPARED:
                    some.append(cells)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text table ({error}); save it as CSV in UTF-8") from None
    first = [cell.strip() for cell in first]
    named, head = _names(path, first, some, decimal) if header is None else (header, "as asked")
    names = first if named else [f"column {j + 1}" for j in range(len(first))]
    lines = lines if named else [line, *lines]
    if not lines or not names:
        raise ValueError(f"{path}: expected rows of numbers; got none")
    if repeated := sorted(name for name, times in Counter(names).items() if times > 1):
        raise ValueError(f"{path}: columns must have different names; {repeated[0]!r} is there twice")
    with _opened(path) as file:
        if named:
            next(_rows(file, delimiter))
        try:
            frame = pd.read_csv(
                file, sep=delimiter, decimal=decimal, header=None, names=list(range(len(names))), skipinitialspace=True,
                keep_default_na=False, na_values=_variants(), dtype_backend="numpy_nullable",
            )  # fmt: skip
        except ValueError as error:  # what pandas takes for no table, and csv did
            raise ValueError(f"{path}: not a text table ({' '.join(str(error).split())})") from None
    if len(frame) != len(lines):
        raise ValueError(f"{path}: not a text table (read as {len(lines):,} rows, and as {len(frame):,})")
    frame.columns = pd.Index(names)
    for name in names:
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):  # words, or numbers beyond 64 bits among others
            frame[name] = _text(frame[name])
    return Text(frame, lines, head, path, delimiter)


def _opened(path: Path) -> Any:
    return open(path, newline="", encoding="utf-8-sig")


def _rows(file: Any, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        if row:
            yield reader.line_num, row


def _variants() -> list[str]:
    ways = (str.lower, str.upper, str.title, str.capitalize)
    return sorted({way(marker) for marker in (*MISSING, "NaN") for way in ways} | {"NaN", "N/a"})


def _text(series: Any) -> Any:
    """Stripped; missing where it says so; numbers where all the rest are."""
    stripped = series.astype("string").str.strip()
    stripped = stripped.mask(stripped.str.lower().isin(MISSING))
    words = stripped.dropna().unique().tolist()
    if not words or not all(map(is_number, words)):
        return stripped
    numbers = stripped.astype(object).map({word: float(word) for word in words}).astype("Float64")
    exact = all(word.lstrip("+-").isdecimal() and abs(float(word)) < 2**53 for word in words)
    return numbers.astype("Int64") if exact else numbers


def _names(path: Path, first: list[str], some: list[list[str]], decimal: str) -> tuple[bool, str]:
    """Whether the `first` row is names, and why. A text that comes again in its column is no name.

    Raises:
        ValueError: for a row of numbers and texts that do not come again: a name may be a number, and a typo a text.
    """
    words = [j for j, cell in enumerate(first) if not (is_number(cell.replace(decimal, ".")) or is_missing(cell))]
    if not words:
        return False, "no names: the first row is numbers"
    if all(any(row[j].strip() == first[j] for row in some) for j in words):
        return False, "no names: what the first row says comes again below"
    numbers = [cell for cell in first if is_number(cell.replace(decimal, "."))]
    if not numbers:
        return True, "names from the first row"
    shown = ", ".join(itertools.islice(map(repr, first), 6)) + (", ..." if len(first) > 6 else "")
    raise ValueError(
        f"{path}: the first row, {shown}, holds texts and numbers: are these names, or data with "
        f"{first[words[0]]!r} in place of a number? Say header = true or header = false"
    )
