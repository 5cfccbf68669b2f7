"""What is held out of data that come without a split of their own: a share of the rows, by what they hold.

A row is held out if a keyed hash of its bytes, as a number in [0, 1), lies below the share. So the split depends on no
order, seed or number of rows: rows that are added later change no other's side, equal rows share one, and a larger
share holds out what a smaller one does, and more. Pictures of a folder are known by the content of their files: that
survives renaming and another size, and decodes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield.data.sources import Batch, Source, check_rows, chunks, rows_at_a_time

FEWEST = 8  # rows: fewer held out tell nothing
_KEY = b"scorefield: held out"


class Subset:
    """Some rows of a source, as one."""

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows
        self.event_shape, self.levels, self.num_classes = source.event_shape, source.levels, source.num_classes
        self.class_names, self.columns, self.said = (getattr(source, n, ()) for n in ("class_names", "columns", "said"))
        self.table, self.masked = getattr(source, "table", None), getattr(source, "masked", False)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Batch:
        check_rows(rows, len(self))
        return self.source.batch(self.rows[rows])

    def row_keys(self, rows: Tensor) -> NDArray[np.uint64]:
        return row_keys(self.source, self.rows[rows])

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.source!r})"


class Parts(NamedTuple):
    """Of a source; `test` is None where nothing is held out, and `why` then says so."""

    train: Source
    test: Source | None
    groups: int | None  # how many there are, where rows belong together
    why: str = ""


def split(source: Source, share: float, groups: Sequence[object] | None = None) -> Parts:
    """`source` in two: what to train on, and the `share` that is held out.

    Args:
        groups: of each row; the rows of one are on one side, by the hash of what it is called.

    Raises:
        ValueError: for a share outside [0, 1), groups of another number than rows, or a share that leaves no row.
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out must lie in [0, 1); got {share:g}")
    if groups is not None and len(groups) != len(source):
        raise ValueError(f"groups must have one entry for each of the {len(source):,} rows; got {len(groups):,}")
    number = None if groups is None else len(set(map(str, groups)))
    if share == 0:
        return Parts(source, None, number, "data.held_out = 0")
    names = None if groups is None else [str(group).encode() for group in groups]
    out = (row_keys(source) if names is None else _hashes(names)) / 2.0**64 < share
    if out.all():
        raise ValueError(f"held_out = {share:g} leaves none of the {len(source):,} rows to train on")
    if len(source) * share < FEWEST or not out.any():
        of = f"{len(source):,} rows" if number is None else f"{number:,} groups of {len(source):,} rows"
        return Parts(source, None, number, f"{of} are too few to hold out {share:.0%}")
    held = torch.from_numpy(out)
    return Parts(Subset(source, torch.nonzero(~held)[:, 0]), Subset(source, torch.nonzero(held)[:, 0]), number)


def row_keys(source: Source, rows: Tensor | None = None) -> NDArray[np.uint64]:
    """`(n,)` a keyed 64-bit hash of each row's bytes, of all rows or those at `rows`: of equal rows the same.

    Numbers are hashed as they are read: float32, or the smallest integers that hold the levels. A source that knows its
    rows by something else has `row_keys(rows)`, as `ImageFolder` does.
    """
    own = getattr(source, "row_keys", None)
    if own is not None:
        return own(torch.arange(len(source), device="cpu") if rows is None else rows)
    some = chunks(source) if rows is None else rows.split(rows_at_a_time(source.event_shape))
    return np.concatenate([keys_of(source.batch(chunk).x, source.levels) for chunk in some])


def keys_of(x: Tensor, levels: int | None) -> NDArray[np.uint64]:
    """`row_keys` of rows `(n, *event)` that have been read."""
    array = x.detach().cpu().reshape(len(x), -1).numpy()
    if levels is None:
        array = array.astype(np.float32) + np.float32(0)  # -0 is 0
    else:
        array = array.astype(np.uint8 if levels <= 256 else np.int32)
    size, raw = array.itemsize * array.shape[1], memoryview(np.ascontiguousarray(array).tobytes())
    return _hashes(raw[i * size : (i + 1) * size] for i in range(len(array)))


def key_of_file(content: Iterable[bytes]) -> bytes:
    """8 bytes for a file's content."""
    made = hashlib.blake2b(digest_size=8, key=_KEY)
    for part in content:
        made.update(part)
    return made.digest()


def _hashes(rows: Iterable[bytes | memoryview]) -> NDArray[np.uint64]:
    digests = [hashlib.blake2b(row, digest_size=8, key=_KEY).digest() for row in rows]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
