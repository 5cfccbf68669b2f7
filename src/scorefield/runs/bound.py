"""What a run is bound to: the recipe that its checkpoints keep, and the units of the data it began with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from scorefield import recipes
from scorefield.data import Transform
from scorefield.recipes import Recipe
from scorefield.storage import checkpoints, files, models
from scorefield.storage.lock import hold

RECIPE = "recipe.toml"
ACCEPTED = ("data", "recipe")  # what a run may go on with that is not its own


def check(folder: Path, recipe: Recipe, accept: Collection[str] = ()) -> Recipe:
    """`recipe` as the one to go on with in `folder`, whose own may differ in its length, its machine and its logging.

    The run's own is that of its checkpoints: the file beside them may have been edited.

    Raises:
        ValueError: for one that differs in more, unless `accept` has "recipe"; by the first key.
    """
    if not (folder / RECIPE).is_file():
        return recipe
    there = recipes.begun(folder / RECIPE)
    recipe = recipes.going_on(there, recipe)
    if "recipe" in accept:
        return recipe
    if different := recipes.difference(there, recipe):
        key, old, new = different
        raise ValueError(f"a run goes on with the recipe in {folder}, where {key} is {old}; got {new}")
    began = of_checkpoints(folder)
    if began is not None and (different := recipes.difference(began, there)):
        key, old, new = different
        raise ValueError(
            f"{folder / RECIPE} was changed since the run began: {key} is {new} there; its checkpoints have {old}. "
            "To go on all the same: --accept recipe"
        )
    return recipe


def recover(folder: Path, say: Callable[[str], None]) -> bool:
    """Writes the recipe of a run that has lost it, as its checkpoints keep it, all but its logging; whether they do."""
    if (folder / RECIPE).is_file() or (began := of_checkpoints(folder)) is None:
        return False
    with hold(folder):
        files.replace(folder / RECIPE, recipes.dumps(began).encode())
    say(f"{folder / RECIPE} was lost, and is written anew from a checkpoint")
    return True


def units_of(folder: Path, warn: Callable[[str], None]) -> Transform | None:
    """Of the data that the run in `folder` began with.

    Raises:
        ValueError: for a table, whose columns are those it began with.
    """
    found = checkpoints.latest(folder / "checkpoints", warn)
    if found is None:
        return None
    transform = models.read(found / "model.safetensors")[1]
    if getattr(transform, "table", None) is not None:
        raise ValueError("accept: a table's run does not go on with another table: begin a new run")
    return transform


def of_checkpoints(folder: Path) -> Recipe | None:
    """The recipe that the newest readable checkpoint of a run keeps; None where it does not, as of 0.1.0."""
    for _, found in sorted(checkpoints.steps(folder / "checkpoints").items(), reverse=True):
        with contextlib.suppress(ValueError, OSError):  # damaged: an older one may have it
            text = checkpoints.read_state(found).get("recipe")
            return recipes.loads(text, f"{found}") if isinstance(text, str) else None
    return None
