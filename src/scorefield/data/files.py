"""`load`: a source from a path, by what the path is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield.data import opening
from scorefield.data._decode import SUFFIXES, Fit, Policy, decode, header
from scorefield.data.arrays import Layout, Named, arranged, classes, line, named, of_classes
from scorefield.data.idx import labels_beside, read_idx
from scorefield.data.images import MAX_PIXELS, ImageFolder, holds_pictures, target_size
from scorefield.data.opening import a_file
from scorefield.data.recordings import files_of, read_series
from scorefield.data.schema import TableSchema
from scorefield.data.sources import Arrays
from scorefield.data.tables import SUFFIXES as TABLES
from scorefield.data.tables import read_csv, read_parquet

_NPY, _ZIP = b"\x93NUMPY", b"PK"


def load(path: str | os.PathLike[str], **policy: Any) -> Arrays | ImageFolder:
    """Data from a file or a folder.

    .npy, .npz        `read_npy`, `read_npz`; pickles are never loaded
    ...-ubyte, .idx   idx, .gz or not: images (N, H, W) become (N, 1, H, W), labels beside them by the usual name
    .csv, .tsv        `read_csv`
    .parquet          `read_parquet`; needs pyarrow
    .png, .jpg, ...   `read_picture`
    a folder          `ImageFolder`, or where it holds no pictures `read_series`; so an .npz whose `lengths` are said

    Args:
        policy: keyword arguments of the reader.

    Raises:
        FileNotFoundError: if there is nothing there.
        ValueError: naming the file: what was expected, what came; or a policy that its reader does not have.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        a_file(path)
    reader = _reader(path, several="lengths" in policy)
    known = _arguments(reader)
    for name in policy:
        if name not in known:
            raise ValueError(f"{path}: no policy {name!r} for such data; there are {', '.join(known) or 'none'}")
    return reader(path, **policy)


def policies(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of what may be said of how that file or folder is read.

    Raises:
        ValueError: for a file of no known kind.
    """
    path = Path(path)
    return tuple({**dict.fromkeys(_arguments(_reader(path))), **dict.fromkeys(_arguments(_reader(path, several=True)))})


def _arguments(reader: Callable[..., object]) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(reader).parameters if name != "path")


def as_table(path: str | os.PathLike[str], policy: Mapping[str, Any], table: TableSchema) -> dict[str, Any]:
    """The policy by which `load` reads another file as the `table` that a model was trained on.

    Only how the file is written is taken of `policy`; that of what is no table stays as it is.
    """
    if Path(path).suffix.lower() not in TABLES:
        return dict(policy)
    return {**{k: v for k, v in policy.items() if k in ("header", "delimiter", "decimal")}, "schema": table}


def read_npy(path: str | os.PathLike[str], *, levels: int | None = None, layout: Layout | None = None) -> Arrays:
    """One array (N, *event).

    Args:
        levels: as of `Arrays`: uint8 has 256, uint16 65536.
        layout: which axis is which: of pictures "HW", "HWC" or "CHW", of series "L", "LC" or "CL"; the channels come to
            the front, or are added. "as-is" leaves events as they are stored. Without it (N, A, B) are pictures of one
            channel, but series where numbers are not whole and one axis is short; (N, H, W, C) with 1, 3 or 4 channels
            has them last; other shapes are as they are. A guess is in `said`.

    Raises:
        ValueError: for a file that is no .npy, is damaged or holds no real numbers (pickles are never loaded), or a
            layout that does not fit its shape.
    """
    return _arrays(path, _loaded(path, _NPY), None, levels, layout)


def read_npz(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    label: str | None = None,
    levels: int | None = None,
    layout: Layout | None = None,
) -> Arrays:
    """An array (N, *event) of several, and its labels; `levels` and `layout` as in `read_npy`.

    Args:
        key: the array's name; without it the only one that is not the labels, or x, images, data or arr_0.
        label: the labels' name; without it label, labels or y, where they are classes. They may be of any type:
            text is numbered in sorted order and kept in `class_names`.

    Raises:
        ValueError: as `read_npy`; for an array that is not there, or not named where there are several; labels that
            are no classes.
    """
    with _loaded(path, _ZIP) as arrays:
        chosen = named(path, list(arrays), key, label)
        labels = None if chosen.label is None else _member(path, arrays, chosen.label)
        return _arrays(path, _member(path, arrays, chosen.key), labels, levels, layout, chosen)


def read_idx_images(path: str | os.PathLike[str], *, levels: int | None = None) -> Arrays:
    """An idx file; (N, H, W) becomes (N, 1, H, W). Labels come from the file beside it, ...labels-idx1-ubyte.

    Raises:
        ValueError: for a file that is no idx file or is damaged, or labels that do not fit the images.
    """
    path = Path(path)
    array, beside = read_idx(path), labels_beside(path)
    labels = None if beside is None else read_idx(beside)
    return _arrays(path, array, labels, levels, "HW" if array.ndim == 3 else None)


def read_picture(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: Literal[1, 3] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Arrays:
    """One picture (1, C, H, W), the bytes that `ImageFolder` makes of it; the policy is that of `ImageFolder`."""
    path = Path(path)
    known = header(path, max_pixels)
    policy = Policy(channels or (1 if known.grey else 3), target_size(size, {path: known}), fit, max_pixels)
    return Arrays(torch.from_numpy(decode(path, policy).copy())[None])


def _of_folder(path: Path) -> Callable[..., Arrays | ImageFolder]:
    return read_series if not holds_pictures(path) and files_of(path) else ImageFolder


def _reader(path: Path, several: bool = False) -> Callable[..., Arrays | ImageFolder]:
    """Args: several: whether an .npz holds a series in each of its arrays."""
    if path.is_dir():
        return _of_folder(path)
    if several and path.suffix.lower() == ".npz":
        return read_series
    name = path.name.lower()
    if name.removesuffix(".gz").endswith(("-ubyte", ".ubyte", ".idx")):
        return read_idx_images
    readers: dict[str, Callable[..., Arrays]] = {
        ".npy": read_npy,
        ".npz": read_npz,
        ".csv": read_csv,
        ".tsv": read_csv,
        ".parquet": read_parquet,
    }
    if path.suffix.lower() in SUFFIXES:
        return read_picture
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected {', '.join(readers)}, an idx file, a picture or a folder of pictures")
    return readers[path.suffix.lower()]


def _loaded(path: str | os.PathLike[str], start: bytes) -> Any:
    with open(a_file(path), "rb") as file:
        got = file.read(len(start))
    if got != start:  # NumPy would take it for a pickle
        raise ValueError(
            f"{path}: not a NumPy {'array' if start == _NPY else 'archive'}, which begins {start!r}; got {got!r}. "
            "Pickles are never loaded"
        )
    try:
        return opening.arrays(path)
    except ValueError as error:
        raise ValueError(f"{path}: {_reason(error, path)}") from None


def _member(path: str | os.PathLike[str], arrays: Any, name: str) -> NDArray:
    try:
        return arrays[name]
    except opening.DAMAGE as error:
        raise ValueError(f"{path}, array {name!r}: {_reason(error, path)}") from None


def _reason(error: Exception, path: str | os.PathLike[str]) -> str:
    if "pickle" in str(error):
        return (
            "holds Python objects, whose pickles are never loaded, since they can run code; save numbers, or text as "
            "text, a.astype(str)"
        )
    said = " ".join(str(error).removeprefix(f"{path}: ").split())
    return said if "unpack" in said else f"damaged, or not a NumPy file ({said})"


def _arrays(
    path: str | os.PathLike[str],
    array: Any,
    labels: NDArray | None,
    levels: int | None,
    layout: Layout | None,
    names: Named | None = None,
) -> Arrays:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.ndim < 1:
        raise ValueError(f"{path}: expected one array of real numbers (N, ...); got {_kind(array)}")
    arranged_, taken = arranged(str(path), array, layout)
    label, class_names, of = None, (), ""
    if labels is not None and (names is None or names.asked):
        label, class_names = classes(str(path) if names is None else f"{path}, array {names.label!r}", labels)
    elif labels is not None and names is not None:  # a guess
        try:
            if labels.shape[:1] != array.shape[:1]:
                raise ValueError(f"it has {len(np.atleast_1d(labels)):,} entries")
            label, class_names = classes(str(names.label), labels)
            of = of_classes(str(names.label), label, class_names)
        except ValueError as error:
            label, of = None, f"{names.label!r} is left aside ({error})"
    guesses = {"" if names is None else names.said: "--key", of: "--label-column", taken: "--layout"}
    try:
        return Arrays(
            _tensor(arranged_), label, levels=levels, class_names=class_names, said=line(path, guesses, array)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _kind(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


def _tensor(array: NDArray) -> Tensor:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "u" and native.dtype.itemsize > 2:  # torch has little arithmetic on them
        native = native.astype(np.int64)
    if native.dtype.kind == "f" and native.dtype.itemsize not in (2, 4, 8):
        native = native.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(native))
