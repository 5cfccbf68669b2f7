"""Data that are named to a run: a set's name, a file or a folder, read as its own were, of its shape and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield import catalogue, data, recipes
from scorefield._caller import warn
from scorefield.data import Batch, Requantised, Source, Transform, opening
from scorefield.data.arrays import fitting
from scorefield.data.images import SUFFIXES, holds_pictures
from scorefield.recipes import Data

ARRAYS = (".npy", ".npz")


def is_set(name: str) -> bool:
    """Whether it is the name of data, and no path."""
    return name in catalogue.SOURCES or name in catalogue.SHAPES


def is_pictures(path: Path) -> bool:
    """Whether a path is a picture or a folder of them; a folder of series is not."""
    return (path.is_dir() and holds_pictures(path)) or path.suffix.lower() in SUFFIXES


def read(
    named: str,
    spec: Data,
    policy: Mapping[str, Any],
    event: Sequence[int],
    transform: Transform | None,
    class_names: Sequence[str],
    data_dir: Path | None,
) -> tuple[Source, bool]:
    """(what is `named`, whether it is what a set holds out).

    Args:
        spec: of the run; its policy holds where it is of the same kind of data.
        policy: how they are read besides, which goes before.
        event, transform, class_names: of the run.

    Raises:
        FileNotFoundError, ValueError: for what is not there, or cannot be read so.
    """
    event, levels = tuple(event), None if transform is None else transform.levels
    if not is_set(named) and not Path(named).exists():  # "MNIST"
        sets = (*catalogue.SOURCES, *catalogue.SHAPES)
        named = {name.casefold(): name for name in sets}.get(named.casefold(), named)
    if is_set(named):
        if policy:
            first = "label-column" if "label" in policy else next(iter(policy)).replace("_", "-")
            raise ValueError(f"--{first} is for files and folders; {named} is a named set")
        if said := recipes.shadowed(named):
            warn(said)
        own = spec.policy if spec.source == named else {}
        update = {"source": named, "test": None, "groups": None, "held_out": 0.0, "policy": own}
        return recipes.held_out(spec.model_copy(update=update), data_dir=data_dir)
    path = Path(named)
    if not path.exists():
        raise recipes.missing(named, "data")
    known = data.policies(path)
    kept = {name: value for name, value in spec.policy.items() if name in known}
    if is_pictures(path):
        source = _pictures(path, {**kept, **policy}, event, transform)
    elif "fit" in policy or "size" in policy:
        raise ValueError(f"--{'fit' if 'fit' in policy else 'size'} is for pictures; {path} holds numbers")
    elif path.suffix.lower() in ARRAYS:
        source = _array(path, kept, policy, event, levels)
    else:
        policy = {**kept, **policy}
        table = getattr(transform, "table", None)
        source = data.load(path, **(policy if table is None else data.as_table(path, policy, table)))
    return recipes.seen(_relabelled(source, tuple(class_names), named), spec), False


def _pictures(path: Path, policy: dict[str, Any], event: tuple[int, ...], transform: Transform | None) -> Source:
    levels = None if transform is None else transform.levels
    if transform is None:
        raise ValueError(f"the run has no transform of grey values to read {path} with: give numbers")
    if len(event) != 3 or levels is None:
        raise ValueError(f"{path} holds pictures; the run's data have events of shape {event}")
    channels, height, width = event
    if channels in (1, 3):
        policy["channels"] = channels
    if "fit" in policy:
        policy.setdefault("size", (height, width))
    source = data.load(path, **policy)
    if tuple(source.event_shape) != event:
        h, w = source.event_shape[1:]
        raise ValueError(
            f"{path}: {h} x {w} pixels, the run's pictures have {height} x {width}: say how to make it fit with "
            "--fit crop (scale, keep the centre), resize (stretch) or pad"
        )
    return source if levels == 256 else Requantised(source, levels)


def _array(
    path: Path, kept: dict[str, Any], policy: Mapping[str, Any], event: tuple[int, ...], levels: int | None
) -> Source:
    """By the layout that makes of it events of the run's, where none is said."""
    if path.suffix.lower() == ".npz":  # names that another file need not have
        with opening.arrays(path) as arrays:
            kept = {k: v for k, v in kept.items() if k not in ("key", "label") or v in arrays.files}
    given = {**kept, **({} if levels is None else {"levels": levels}), **policy}
    if "layout" in policy:
        return data.load(path, **given)
    source = data.load(path, **{**given, "layout": "as-is"})
    layout = fitting((len(source), *source.event_shape), event)
    return source if layout in (None, "as-is") else data.load(path, **{**given, "layout": layout})


def _relabelled(source: Source, names: tuple[str, ...], named: str) -> Source:
    """With the run's numbers of the classes, where both have names."""
    own: tuple[str, ...] = tuple(getattr(source, "class_names", ()))
    if not names or not own or own == names:
        return source
    if strange := [name for name in own if name not in names]:
        raise ValueError(f"{named} has a class {strange[0]!r}; the run's are {', '.join(names)}")
    return _Relabelled(source, names, torch.tensor([names.index(name) for name in own], device="cpu"))


class _Relabelled:
    """A source whose classes have other numbers."""

    def __init__(self, source: Source, names: tuple[str, ...], number: Tensor) -> None:
        self.source, self.class_names, self.num_classes, self._number = source, names, len(names), number
        self.event_shape, self.levels, self.said = source.event_shape, source.levels, getattr(source, "said", ())
        self.table, self.masked = getattr(source, "table", None), getattr(source, "masked", False)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> Batch:
        x, cond = self.source.batch(rows)
        return Batch(x, {**cond, "label": self._number[cond["label"]]})

    def row_keys(self, rows: Tensor) -> NDArray[np.uint64]:
        return data.row_keys(self.source, rows)
