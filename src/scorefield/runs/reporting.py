"""`report.html` of a run: what was trained, how the loss fell, and at which noise level it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scorefield.plots.page import Row, Section, write_page
from scorefield.recipes import Recipe
from scorefield.training import History


def write(
    folder: Path, recipe: Recipe, history: History, *, parameters: int, examples: int | None, shape: Sequence[int]
) -> Path:
    """Writes the page of the run in `folder` and returns its path.

    Args:
        parameters: of the network.
        examples: how many data it was trained on, if known.
        shape: of one.
    """
    last, rows = recent(history), []
    if last is not None:  # a run may have lost its log
        seen = len(history.step) * recipe.training.batch_size
        rows = [
            Row("loss", f"{last.loss:.4f}", f"mean of the last {last.steps} steps"),
            Row("steps", f"{history.step[-1]:,}", f"{recipe.training.batch_size} samples each"),
            Row("seconds", f"{history.seconds[-1]:.1f}", f"{seen / history.seconds[-1]:.0f} samples a second"),
        ]
    rows += [
        Row("data", "unknown" if examples is None else f"{examples:,}", f"{recipe.data.source}, {tuple(shape)}"),
        Row("network", f"{parameters:,}", f"parameters, {recipe.network.type}"),
    ]
    sections = [
        Section(
            "Training",
            "The loss of each batch, and its running mean.",
            folder / "training.png",
            "The loss over the training steps.",
        ),
        Section(
            "Loss against noise level",
            "The latest mean at each sigma / alpha. It is not zero where the model is perfect: it is then what no "
            "network can predict. A bump that a longer run does not flatten is a level to give more weight.",
            folder / "levels.png",
            "The mean loss over the noise level.",
        ),
        *(
            Section(f"Samples after {int(picture.stem[5:]):,} steps", "The same noise each time.", picture, "Samples.")
            for picture in sorted((folder / "samples").glob("step-*.png"))[-4:]
        ),
    ]
    return write_page(
        folder / "report.html",
        title=f"Training run: {recipe.name}",
        lead=f"Seed {recipe.seed}. Everything needed to repeat it is in recipe.toml.",
        rows=rows,
        sections=[section for section in sections if section.picture.is_file()],  # a run that is not over has no curves
        facts=[Row(key, "", line) for key, line in _recipe_lines(recipe)],
    )


class Recent(NamedTuple):
    """Where training stands."""

    loss: float  # the mean over the last steps
    steps: int  # how many


def recent(history: History) -> Recent | None:
    """Over the last 100 steps, less those whose loss was not finite; None if there are none."""
    losses = [loss for loss in history.loss[-100:] if math.isfinite(loss)]
    return Recent(sum(losses) / len(losses), len(losses)) if losses else None


def _recipe_lines(recipe: Recipe) -> list[tuple[str, str]]:
    tables = recipe.model_dump(mode="json", exclude_none=True)
    return [
        (name, ", ".join(f"{key} = {value}" for key, value in table.items()))
        for name, table in tables.items()
        if isinstance(table, dict)
    ]
