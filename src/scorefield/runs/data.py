"""The data of a run: those it did not train on, others that fit it, and how its model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from scorefield import recipes
from scorefield.data import Source, Transform
from scorefield.randomness import Stream
from scorefield.recipes import Data, Recipe


class HeldOut(NamedTuple):
    """Data to judge a run by."""

    source: Source
    what: str  # "held-out data of mnist"


def held_out(spec: Data, data_dir: Path | None) -> HeldOut:
    """What `spec` holds out, or where that is nothing all of it, and what to call it."""
    source, apart = recipes.held_out(spec, data_dir=data_dir)
    return HeldOut(source, f"{'held-out data' if apart else 'data'} of {spec.source}")


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
