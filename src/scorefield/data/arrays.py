"""What the arrays of a file are: which are the data and which their labels, and which axis is which.

What is not said is guessed, and the guess is said: `Named.said`, and `arranged`'s second value, in words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Layout = Literal["HW", "HWC", "CHW", "L", "LC", "CL", "as-is"]

KEYS = ("raw", "x", "images", "data", "arr_0")  # what data are called; "raw" is what our own commands write
LABELS = ("label", "labels", "y")
CHANNELS = (1, 3, 4)  # of pictures
FEW = 20  # rows in which all labels may differ, and classes of which most may be missing
_SERIES = 16  # channels of a series, at most
_LONG = 4  # times as long as it has channels
_SHOWN = 6  # classes in a line

_WORDS = {
    "HW": "pictures of one channel, (N, H, W)",
    "HWC": "pictures, channels last, (N, H, W, C)",
    "CHW": "pictures, channels first, (N, C, H, W)",
    "L": "series of one channel, (N, L)",
    "LC": "series, channels last, (N, L, C)",
    "CL": "series, channels first, (N, C, L)",
}


def arranged(where: str, array: NDArray, layout: Layout | None) -> tuple[NDArray, str]:
    """`array` with its channels first, and what it was taken for if that was a guess.

    Raises:
        ValueError: for a layout that does not exist, or is of another number of axes; `where` begins the message.
    """
    guessed, sure = (_guess(array), False) if layout is None else (layout, True)
    if guessed not in get_args(Layout):
        raise ValueError(f"layout must be one of {', '.join(get_args(Layout))}; got {layout!r}")
    if guessed != "as-is" and array.ndim != len(guessed) + 1:
        raise ValueError(f"{where}: layout {layout} needs {len(guessed) + 1} dimensions; got shape {array.shape}")
    said = "" if sure or guessed == "as-is" or array.shape[1] == 1 else f"taken for {_WORDS[guessed]}"
    if guessed in ("HW", "L"):
        return array[:, None], said
    return (np.moveaxis(array, -1, 1) if guessed in ("HWC", "LC") else array), said


def fitting(shape: Sequence[int], event: Sequence[int]) -> Layout | None:
    """The layout by which an array of that `shape` holds such events, if there is one."""
    stored, event = tuple(shape[1:]), tuple(event)
    last_first = stored[-1:] + stored[:-1]
    if stored == event:
        return "as-is"
    if len(stored) in (1, 2) and (1, *stored) == event:
        return "L" if len(stored) == 1 else "HW"
    if len(stored) in (2, 3) and last_first == event:
        return "LC" if len(stored) == 2 else "HWC"
    return None


def _guess(array: NDArray) -> Layout:
    *_, a, b = (1, *array.shape)
    if array.ndim == 4:
        first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
        return "HWC" if last and not first else "CHW" if last else "as-is"
    if array.ndim != 3:
        return "as-is"
    if a == 1 or (array.dtype.kind == "f" and a <= _SERIES and b >= _LONG * a):
        return "CL"
    return "LC" if array.dtype.kind == "f" and b <= _SERIES and a >= _LONG * b else "HW"


class Named(NamedTuple):
    """The names of two arrays, and which of them were guessed."""

    key: str
    label: str | None
    said: str  # in words; nothing where both were given
    asked: bool  # for those labels


def named(path: str | os.PathLike[str], names: Sequence[str], key: str | None, label: str | None) -> Named:
    """Which arrays of an .npz are the data and their labels.

    Raises:
        ValueError: for one that is not there, or data that have no usual name among several.
    """
    for name in (key, label):
        if name is not None and name not in names:
            raise ValueError(f"{path}: no array {name!r}; there are {', '.join(names)}")
    lower = {name.lower(): name for name in reversed(names)}
    asked = label is not None
    label = label or next((lower[name] for name in LABELS if name in lower and lower[name] != key), None)
    others = [name for name in names if name != label]
    usual = next((lower[name] for name in KEYS if name in lower and lower[name] != label), None)
    chosen = key or (others[0] if len(others) == 1 else usual)
    if chosen is None:
        raise ValueError(
            f"{path}: several arrays, {', '.join(names)}, and none is called {', '.join(KEYS[1:])}: choose one "
            "with key; or if each is a series, say lengths = 'crop' or 'pad'"
        )
    left = [name for name in others if name != chosen]
    said = "" if key is not None and (asked or label is None) else f"the data are {chosen!r}"
    return Named(chosen, label, f"{said} ({', '.join(left)} not read)" if said and left else said, asked)


def classes(where: str, values: NDArray) -> tuple[Tensor, tuple[str, ...]]:
    """Labels of any type as `(N,)` int64, and the names of the classes where they have names.

    Whole numbers from 0 that leave few out stay as they are; anything else, text or dates as numbers, is numbered in
    sorted order. Rows with a single 1 among zeros are the classes at which it stands.

    Raises:
        ValueError: for numbers that are not whole, several to a row, or nearly as many as rows; `where` begins the
            message.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.dtype.kind in "biuf" and ((values != 0).sum(1) == 1).all() and values.max() == 1:
        values = values.argmax(1)
    if values.ndim != 1:
        raise ValueError(f"{where}: labels must be (N,), one for each row, or one-hot; got shape {values.shape}")
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind in "iuf":
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
            odd = values[~(np.isfinite(values) & (values == np.round(values)))][0]
            raise ValueError(f"{where}: labels must be classes, whole numbers or text; got {odd}")
        values = values.astype(np.int64)
    names, number = np.unique(
        np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values, return_inverse=True
    )
    if len(values) > FEW and 2 * len(names) > len(values):
        raise ValueError(f"{where}: {len(names):,} different labels of {len(values):,} rows are no classes")
    if values.dtype.kind == "i" and len(names) and names[0] >= 0 and names[-1] < max(FEW, 4 * len(names)):
        return torch.from_numpy(np.ascontiguousarray(values)), ()
    return torch.from_numpy(number.astype(np.int64)), tuple(str(name) for name in names)


def line(path: str | os.PathLike[str], parts: Mapping[str, str], array: NDArray) -> tuple[str, ...]:
    """What was guessed of a file, in one line; `parts` are what was guessed, and the option that says otherwise."""
    said = {words: option for words, option in parts.items() if words}
    if not said:
        return ()
    *most, last = said.values()
    options = f"{', '.join(most)} and {last} say" if most else f"{last} says"
    return (f"{path}: {array.dtype} {array.shape}, {'; '.join(said)}. {options} otherwise",)


def of_classes(name: str, label: Tensor, names: Sequence[str]) -> str:
    """'the labels are 'y', 3 classes: cat, dog, fish'."""
    count = len(names) or (int(label.max()) + 1 if len(label) else 0)
    listed = ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
    return f"the labels are {name!r}, {count} classes" + (f": {listed}" if names else "")
