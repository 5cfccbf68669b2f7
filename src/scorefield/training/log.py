"""`metrics.jsonl`: a line a step, a JSON object of numbers, null for what was not finite.

What cannot be read stops nothing: the weights are elsewhere. It is set aside, not thrown away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from scorefield.storage import files
from scorefield.training.progress import COLUMNS

MOST = 1 << 30  # bytes: ten million steps


class Lines(NamedTuple):
    """A log as it was read."""

    rows: list[dict[str, Any]]  # NaN for null
    kept: list[bytes]  # the same, as they stand there
    strange: list[bytes]  # what stands there besides


def read(path: Path) -> Lines:
    """The log at `path`, empty if there is none. A last line that was cut off, without an end, is no line.

    Raises:
        ValueError: for what is no file, or too large to be a log.
        OSError: if it cannot be read.
    """
    found = Lines([], [], [])
    if not path.exists():
        return found
    *whole, rest = files.read(path, MOST).split(b"\n")
    for line in [*whole, *([rest] if _row(rest) else [])]:
        if row := _row(line):
            found.rows.append({name: math.nan if value is None else value for name, value in row.items()})
            found.kept.append(line)
        elif line.strip():
            found.strange.append(line)
    return found


def line(row: Mapping[str, float]) -> bytes:
    """One, with its end."""
    return json.dumps(files.plain(dict(row))).encode() + b"\n"


def cut(path: Path, step: int, warn: Callable[[str], None]) -> None:
    """Drops the lines after `step`, and a last one that was cut off; sets aside what cannot be read, and says so."""
    if not path.exists():
        return
    found = read(path)
    if found.strange:
        place = files.aside(path)
        warn(f"{path} has {len(found.strange):,} lines that cannot be read; it is kept as {place.name}")
    kept = [line for line, row in zip(found.kept, found.rows, strict=True) if row["step"] <= step]
    files.replace(path, b"".join(line + b"\n" for line in kept))


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    numbers = cast("dict[str, Any]", row)
    fine = all(v is None or isinstance(v, float) or (type(v) is int and abs(v) < 1 << 62) for v in numbers.values())
    return numbers if fine and type(numbers.get("step")) is int and numbers.keys() >= set(COLUMNS) else None
