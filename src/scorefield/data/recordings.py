"""Series of several lengths, as one array: cut, or filled up with a mask; a folder of recordings, a file each."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scorefield._caller import warn
from scorefield.data import opening
from scorefield.data._csv import is_number
from scorefield.data.images import WAY_OUT, classes_of
from scorefield.data.sources import Arrays

Lengths = Literal["crop", "pad"]
Channels = Literal["CL", "LC"]

SUFFIXES = (".npy", ".csv", ".tsv")
TIMES = ("t", "time", "times", "timestamp", "seconds", "sec", "s", "ms")  # columns that say when, in lower case
_NAMED = 5  # skipped files that a warning names


class Series(Arrays):
    """Series of one length or several, as events (C, L).

    Args:
        series: arrays (L,) or (C, L), all of as many channels.
        label: `(N,)` integers from 0.
        lengths: what is done where they are of several. "crop" keeps the first numbers of each, as many as the shortest
            has. "pad" fills them up to the longest with the mean of the channel, and adds a last channel, the mask: 1
            where there is a series and 0 beyond its end, so that a model learns how long they are too.
        class_names: of the labels 0, 1, ...
        called: what messages call them.

    Attributes:
        masked: whether the last channel is the mask.
        said: a line on what was done, where something was.

    Raises:
        ValueError: for no series, an empty one, one that is not finite, or several numbers of channels; for several
            lengths where `lengths` does not say what to do.
    """

    def __init__(
        self,
        series: Sequence[Any],
        label: Any = None,
        *,
        lengths: Lengths | None = None,
        class_names: Sequence[str] = (),
        called: str = "series",
    ) -> None:
        if lengths not in (None, *get_args(Lengths)):
            raise ValueError(f"lengths must be 'crop' or 'pad'; got {lengths!r}")
        if not len(series):
            raise ValueError(f"{called}: expected series; got none")
        each = [_checked(x, f"{called}, number {i}") for i, x in enumerate(series)]
        many = sorted({x.shape[0] for x in each})
        if len(many) > 1:
            raise ValueError(f"{called}: expected series of as many channels; got {' and '.join(map(str, many))}")
        sizes = [x.shape[1] for x in each]
        short, long = min(sizes), max(sizes)
        self.masked, said = False, ""
        if short == long:
            x = np.stack(each)
        elif lengths is None:
            raise ValueError(
                f"{called}: {len(each):,} series of {len(set(sizes)):,} lengths, {short} to {long}. Say what to do: "
                f"lengths = 'crop' keeps the first {short} numbers of each, 'pad' fills up to {long} and adds a mask"
            )
        elif lengths == "crop":
            x = np.stack([s[:, :short] for s in each])
            said = f"{_several(called, sizes)}: of each the first {short} are kept (lengths = crop)"
        else:
            x = _padded(each, long)
            self.masked = True
            said = (
                f"{_several(called, sizes)}: filled up to {long} with their mean; a last channel is 1 where there is a "
                "series and 0 beyond its end (lengths = pad)"
            )
        super().__init__(x, label, class_names=class_names, said=[said] if said else ())


def read_series(
    path: str | os.PathLike[str],
    *,
    lengths: Lengths | None = None,
    layout: Channels | None = None,
    columns: Sequence[str] = (),
    labels: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
) -> Series:
    """A folder of series, a file each, .npy, .csv or .tsv, in the order of their paths; or an .npz, a series an array.

    An .npy holds (L,), or as `layout` says. A table has a row for each time and a column for each channel, named or
    not; a column called time, t, ... is left out.

    Args:
        lengths: what is done about several: see `Series`.
        layout: of arrays of two axes: "CL" has a row for each channel, "LC" a column. Without it the longer axis is
            taken for time, and that is `said`.
        columns: of tables that name them, those to read, in this order.
        labels: whether the subfolders that hold the files are classes; only if no file lies directly in `path`.
        on_error: what to do about a file that cannot be read: "raise", or "skip" and say so once.

    Raises:
        FileNotFoundError: if there is nothing there.
        ValueError: naming the file, for one that is no series; as `Series`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'; got {on_error!r}")
    if path.suffix.lower() == ".npz" and path.is_file():
        with opening.arrays(path) as archive:
            try:
                each = {name: archive[name] for name in archive.files}
            except opening.DAMAGE as error:
                raise ValueError(f"{path}: damaged ({' '.join(str(error).split())})") from None
        whole = [_oriented(array, layout, f"{path}, array {name!r}") for name, array in each.items()]
        return Series(whole, lengths=lengths, called=str(path))
    files, found, faults = files_of(path), [], []
    if not files:
        raise ValueError(f"{path}: expected series ({', '.join(SUFFIXES)}); got none")
    for file in files:
        try:
            found.append((file, _read(file, columns, layout)))
        except ValueError as error:
            if on_error == "raise":
                raise ValueError(f"{error}. {WAY_OUT}") from None
            faults.append(str(error))
    if not found:
        raise ValueError(f"{path}: none of the {len(faults)} files is usable: {faults[0]}")
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        warn(f"skipped {len(faults)} of {len(files)} files: {'; '.join(faults[:_NAMED])}{more}")
    names, label = classes_of(path, [file for file, _ in found]) if labels else ((), None)
    made = Series([x for _, x in found], label, lengths=lengths, class_names=names, called=str(path))
    if layout is None and any(file.suffix.lower() == ".npy" for file, _ in found) and made.x.shape[1] - made.masked > 1:
        made.said = (
            f"{path}: the longer axis of each array is taken for time (layout CL or LC says which)",
            *made.said,
        )
    return made


def files_of(folder: Path) -> list[Path]:
    """The files of series below a folder, in the order of their paths; hidden ones are not looked at."""
    found = [
        Path(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and name.lower().endswith(SUFFIXES)
    ]
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def _checked(x: Any, where: str) -> NDArray[np.float64]:
    array = np.asarray(x)
    array = array[None] if array.ndim == 1 else array
    if array.dtype.kind not in "biuf" or array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{where}: expected numbers (L,) or (C, L); got {array.dtype} of shape {np.shape(x)}")
    array = array.astype(np.float64)
    if (wrong := ~(np.abs(array) <= np.finfo(np.float32).max)).any():  # what it is kept as
        channel, place = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"{where}: not finite at place {place} of channel {channel}")
    return array


def _several(called: str, sizes: list[int]) -> str:
    return f"{called}: {len(sizes):,} series of {len(set(sizes)):,} lengths, {min(sizes)} to {max(sizes)}"


def _padded(each: list[NDArray[np.float64]], long: int) -> NDArray[np.float64]:
    total = sum(x.shape[1] for x in each)
    mean = np.sum([x.sum(1) for x in each], axis=0) / total
    x = np.zeros((len(each), len(mean) + 1, long))
    x[:, :-1] = mean[:, None]
    for i, series in enumerate(each):
        x[i, :-1, : series.shape[1]] = series
        x[i, -1, : series.shape[1]] = 1
    return x


def _oriented(array: NDArray[Any], layout: Channels | None, where: str) -> NDArray[Any]:
    if layout not in (None, *get_args(Channels)):
        raise ValueError(f"layout of series must be 'CL' or 'LC'; got {layout!r}")
    array = _checked(array, where)
    return array.T if layout == "LC" or (layout is None and array.shape[0] > array.shape[1]) else array


def _read(file: Path, columns: Sequence[str], layout: Channels | None) -> NDArray[Any]:
    """(C, L)."""
    if file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    if file.suffix.lower() == ".npy":
        try:
            array = opening.arrays(file)
        except ValueError as error:
            raise ValueError(f"{file}: damaged, or not numbers ({str(error).removeprefix(f'{file}: ')})") from None
        return _oriented(array, layout, str(file))
    with open(file, newline="", encoding="utf-8-sig") as opened:
        try:
            rows = [row for row in csv.reader(opened, delimiter="\t" if file.suffix.lower() == ".tsv" else ",") if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file}: not a table ({error})") from None
    if not rows:
        raise ValueError(f"{file}: expected rows of numbers; got none")
    numbers = [_is_number(cell) for cell in rows[0]]
    named = not all(numbers)
    if named and any(numbers) and rows[0][0].lower().partition("(")[0].strip() not in TIMES:
        raise ValueError(f"{file}, row 1: names, or numbers with a typo? got {','.join(rows[0])[:60]!r}")
    names = [name.strip() for name in rows[0]] if named else []
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{file}: no column {missing[0]!r}; there are {', '.join(names) or 'no names'}")
    kept = [names.index(name) for name in columns] or [
        j for j in range(len(rows[0])) if not (named and names[j].lower().partition("(")[0].strip() in TIMES)
    ]
    values = []
    for line, row in enumerate(rows[1:] if named else rows, 2 if named else 1):
        if len(row) != len(rows[0]) or not all(_is_number(row[j]) for j in kept):
            raise ValueError(f"{file}, row {line}: expected {len(rows[0])} numbers; got {','.join(row)[:60]!r}")
        values.append([float(row[j].strip()) for j in kept])
    if not values or not kept:
        raise ValueError(f"{file}: expected rows of numbers; got none")
    return _checked(np.asarray(values).T, str(file))


def _is_number(cell: str) -> bool:
    """Or none that is finite, whose place is said later."""
    return is_number(cell.strip()) or cell.strip().lower() == "nan"
