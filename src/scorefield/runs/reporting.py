"""`report.html` of a run: samples beside data, how far they are, how the loss fell, and the nearest training data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from scorefield import plots
from scorefield.plots.page import Row, Section, write_page
from scorefield.plots.shown import Shown
from scorefield.recipes import Recipe
from scorefield.runs.standing import Standing, draws, standing
from scorefield.storage import files
from scorefield.training import History

FINE = 200  # dots an inch: a phone's screen has more than `plots.save` draws
GROWING = 4  # pictures of samples during training


def write(
    run: Any, recipe: Recipe, *, examples: int | None, n: int | None = None, seed: int = 0, data_dir: Path | None = None
) -> Path:
    """Writes the page of `run`, a `Trained`, and report.json with its numbers; returns the page's path.

    Args:
        examples: how many data it was trained on, if known.
        n, seed, data_dir: as of `standing`.
    """
    folder, history = run.folder, run.history
    found = standing(run, n=n, seed=seed, data_dir=data_dir) if draws(run) else Standing([], [], {})
    last, rows = recent(history), list(found.rows)
    if last is not None:  # a run may have lost its log
        seen = len(history.step) * recipe.training.batch_size
        rows += [
            Row("training loss", f"{last.loss:.4f}", f"mean of the last {last.steps} steps"),
            Row("steps", f"{history.step[-1]:,}", f"{recipe.training.batch_size} samples each"),
            Row(
                "seconds of training",
                f"{history.seconds[-1]:.1f}",
                f"{seen / history.seconds[-1]:.0f} samples a second",
            ),
        ]
    parameters = sum(p.numel() for p in run.model.parameters())
    rows += [
        Row(
            "training data",
            "unknown" if examples is None else f"{examples:,}",
            f"{recipe.data.source}, {run.event_shape}",
        ),
        Row("network", f"{parameters:,}", f"parameters, {recipe.network.type}; checkpoint {run.checkpoint}"),
    ]
    sections = [_section(shown) for shown in found.shown]
    sections[min(1, len(sections)) : 1] = _training(folder, history, any("levels" in k for k in found.numbers))
    page = write_page(
        folder / "report.html",
        title=f"Run: {recipe.name}",
        lead=f"Seed {recipe.seed}. Everything needed to repeat it is in recipe.toml; scorefield report {folder} makes "
        "this page again.",
        rows=rows,
        sections=[*sections, *_growing(folder)],
        facts=[Row(key, "", line) for key, line in _recipe_lines(recipe)],
    )
    files.replace(folder / "report.json", (json.dumps(files.plain(found.numbers), indent=1) + "\n").encode())
    return page


def _section(shown: Shown) -> Section:
    return Section(shown.title, shown.text, plots.png_bytes(shown.figure, dpi=FINE), shown.alt)


def _training(folder: Path, history: History, levels: bool) -> list[Section]:
    """The curve, and where no errors by noise level were measured those that training left."""
    sections = []
    losses = [loss for loss in history.loss if math.isfinite(loss)]
    if losses:
        curve = plots.png_bytes(plots.loss_curve(history.step, history.loss), dpi=FINE)
        sections.append(
            Section(
                "Training",
                "The loss of each batch, and its running mean. It does not fall to zero where the model is perfect: "
                "what is left is what no network can predict.",
                curve,
                f"The loss of {len(history.step):,} steps, from {_mean(losses[:20]):.3g} at the start to "
                f"{_mean(losses[-100:]):.3g} at the end.",
            )
        )
    if not levels and (folder / "levels.png").is_file():
        sections.append(
            Section(
                "Loss by noise level",
                "The latest mean at each sigma / alpha during training. A bump that a longer run does not flatten is a "
                "level to give more weight.",
                folder / "levels.png",
                "The mean training loss over the noise level.",
            )
        )
    return sections


def _growing(folder: Path) -> list[Section]:
    """Samples that training left, the same noise each time; a run that is not over may have none."""
    return [
        Section(
            f"Samples after {int(picture.stem[5:]):,} steps",
            "The same noise each time.",
            picture,
            f"Samples of the model after {int(picture.stem[5:]):,} training steps.",
        )
        for picture in sorted((folder / "samples").glob("step-*.png"))[-GROWING:]
    ]


class Recent(NamedTuple):
    """Where training stands."""

    loss: float  # the mean over the last steps
    steps: int  # how many


def recent(history: History) -> Recent | None:
    """Over the last 100 steps, less those whose loss was not finite; None if there are none."""
    losses = [loss for loss in history.loss[-100:] if math.isfinite(loss)]
    return Recent(_mean(losses), len(losses)) if losses else None


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _recipe_lines(recipe: Recipe) -> list[tuple[str, str]]:
    tables = recipe.model_dump(mode="json", exclude_none=True)
    return [
        (name, ", ".join(f"{key} = {value}" for key, value in table.items()))
        for name, table in tables.items()
        if isinstance(table, dict)
    ]
