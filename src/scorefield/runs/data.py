"""The data of a run: those it did not train on, others that fit it, and how its model sees them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield import catalogue, data, recipes
from scorefield.data import Source, TableSchema, Transform, opening
from scorefield.randomness import Stream
from scorefield.recipes import Recipe
from scorefield.storage import files

ROWS = "training-rows.npy"
MOST = 4 << 20  # hashes that are kept, the smallest
LOOKED_UP = 10_000  # rows of other data, to see whether they were trained on


@dataclass(frozen=True)
class HeldOut:
    """Data to judge a run by; also the pair `(source, what)`, which it was."""

    source: Source
    what: str  # "held-out data of mnist"
    apart: bool = True  # whether the run was trained without them, as far as one can tell
    notes: tuple[str, ...] = ()  # what whoever reads the numbers must know, a line each

    def __iter__(self) -> Iterator[Any]:
        return iter((self.source, self.what))

    def __getitem__(self, i: int) -> Any:
        return (self.source, self.what)[i]


def held_out(recipe: Recipe, data_dir: Path | None, table: TableSchema | None = None) -> HeldOut:
    """What `recipe` holds out, or where that is nothing all of it; and what to call it.

    Args:
        table: the columns and classes that the model was trained on, by which a table is read again.
    """
    spec = recipe.data
    if table is not None and spec.groups is None:
        spec = spec.model_copy(update={"policy": data.as_table(spec.source, spec.policy, table)})
    source, apart = recipes.held_out(spec, data_dir=data_dir)
    name = called(recipe.data.source)
    if apart:
        return HeldOut(source, f"held-out data of {name}")
    line = (
        f"nothing was held out of {name}: these are the data it was trained on, and how it does on new ones they "
        "cannot tell"
    )
    return HeldOut(source, f"data it was trained on, {name}", False, (line,))


def other(named: str, source: Source, apart: bool, known: NDArray[np.uint64] | None) -> HeldOut:
    """The `source` that was `named`, where `known` are the hashes of what the run was trained on.

    `apart` says that it is what a set holds out.
    """
    what, said = f"{'held-out data' if apart else 'data'} of {named}", tuple(getattr(source, "said", ()))
    seen, of = (0, 0) if known is None else overlap(source, known)
    if not seen:
        return HeldOut(source, what, notes=said)
    some = f"{seen:,} of the {of:,} rows of {named}" + (" looked up" if of < len(source) else "")
    line = f"{some} are among the data this run was trained on, and say nothing of how it does on new ones"
    return HeldOut(source, what, False, (*said, line))


def called(source: str) -> str:
    """A name, or the last part of a path."""
    return Path(source).name if os.path.isabs(source) else source


def record(folder: Path, source: Source) -> None:
    """Keeps which rows a run is trained on, by their hashes."""
    raw = io.BytesIO()
    np.save(raw, np.unique(data.row_keys(source))[:MOST])
    files.replace(folder / ROWS, raw.getvalue())


def trained_on(recipe: Recipe, folder: Path | None, data_dir: Path | None) -> NDArray[np.uint64] | None:
    """The hashes of the rows a run was trained on, in order; None where nobody knows."""
    if folder is not None and (folder / ROWS).is_file():
        with contextlib.suppress(ValueError):  # damaged: then as of a run without
            return opening.arrays(folder / ROWS)
    if recipe.data.source in catalogue.SHAPES:
        return None  # drawn: no row twice
    try:
        return np.unique(data.row_keys(recipes.training_data(recipe.data, data_dir=data_dir)))[:MOST]
    except (ValueError, FileNotFoundError):  # they stayed elsewhere
        return None


def overlap(source: Source, known: NDArray[np.uint64]) -> tuple[int, int]:
    """(how many rows of `source` are among the `known`, of how many that were looked up)."""
    rows = torch.arange(len(source), device="cpu")
    if len(rows) > LOOKED_UP:
        rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:LOOKED_UP].sort().values
    keys = data.row_keys(source, rows)
    if len(known) == MOST:
        keys = keys[keys <= known[-1]]
    return int(np.isin(keys, known).sum()), len(keys)


def check(source: Source, event_shape: Sequence[int], transform: Transform | None, what: str) -> None:
    """Refuses data of another shape or other levels than a run's; `what` is what the message calls them.

    Raises:
        ValueError: for those.
    """
    event, levels = tuple(event_shape), None if transform is None else transform.levels
    if tuple(source.event_shape) != event or source.levels != levels:
        raise ValueError(
            f"{what} has events of shape {tuple(source.event_shape)} and {_kind(source.levels)}; "
            f"the run's data have {event} and {_kind(levels)}"
        )


def seen(raw: Tensor, transform: Transform | None, rows: Tensor, seed: int) -> Tensor:
    """`raw` data `(N, *event)` as a model was trained to see them, with the noise of dequantisation where it was.

    The noise is a function of (seed, row), `rows` `(N,)`.
    """
    return raw.float() if transform is None else transform.dequantize(raw, Stream(seed, rows))


def count(recipe: Recipe, data_dir: Path | None) -> int | None:
    """How many data the recipe trains on, if they are there."""
    try:
        return len(recipes.training_data(recipe.data, data_dir=data_dir))
    except (ValueError, FileNotFoundError):
        return None


def _kind(levels: int | None) -> str:
    return "continuous values" if levels is None else f"levels {levels}"
