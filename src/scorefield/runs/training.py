"""A recipe into a run folder.

The folder holds `recipe.toml`, `checkpoints/`, `metrics.jsonl` (one line a training step), `samples/` and, once it is
trained, `training.png` and `levels.png`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scorefield import plots
from scorefield._caller import warn as warn_caller
from scorefield.baselines import Generative
from scorefield.denoisers import NetworkDenoiser
from scorefield.flowmaps import FlowMap
from scorefield.plots import samples
from scorefield.plots.shown import Look
from scorefield.recipes import Experiment, Recipe, build, difference, dumps
from scorefield.recipes import load as load_recipe
from scorefield.runs.device import device_of
from scorefield.runs.drawing import draw
from scorefield.runs.pace import Pace
from scorefield.runs.trained import RECIPE, Trained, load
from scorefield.storage.files import replace as replace_file
from scorefield.training import Fit, Logger, Run, TensorBoard, WandB, distributed, fit

SHOWN = 64  # samples in a picture drawn during training


class Interrupted(Exception):
    """Training was stopped by a signal; `train` goes on from there.

    Attributes:
        folder: where what was trained so far is saved.
    """

    def __init__(self, step: int, steps: int, folder: Path) -> None:
        super().__init__(f"after step {step} of {steps}, which is saved")
        self.folder = folder


def train(
    folder: str | os.PathLike[str],
    recipe: Recipe,
    *,
    device: torch.device | str | None = None,
    data_dir: Path | None = None,
    progress: bool = False,
    warn: Callable[[str], None] = warn_caller,
    say: Callable[[str], None] | None = None,
) -> Trained | None:
    """Trains `recipe` in `folder`, going on from its last checkpoint if there is one.

    A run goes on with its own recipe, but for its length, its machine and its logging: those the folder's recipe takes
    over.

    Under torchrun every process calls this alike; those that are not the first write nothing and get None.

    Args:
        folder: made if missing.
        device: the best there is unless given.
        data_dir: where downloaded sets lie.
        progress: show a bar.
        warn: takes a line about a damaged checkpoint that was passed over.
        say: takes a line about how the data were read, and after a few steps about what training will take.

    Raises:
        Interrupted: after SIGINT or SIGTERM, once what was trained so far is saved.
        ValueError, FileNotFoundError: for a recipe that can't be built or is not the folder's, a folder that is
            in use.
        FloatingPointError: as `fit`.
    """
    folder, device = Path(folder), device_of(device)
    check(folder, recipe)
    experiment = build(recipe, data_dir=data_dir)
    first = distributed.rank() == 0
    if first and say is not None:
        for line in getattr(experiment.source, "said", ()):
            say(line)
    logging = recipe.logging
    run = Run(
        folder,
        meta=_meta(experiment),
        checkpoint_every=logging.checkpoint_every,
        keep=logging.keep,
        keep_every=logging.keep_every,
        sample_every=logging.sample_every if recipe.task != "classifier" else None,
        on_sample=lambda denoiser, step: _sample_into(folder / "samples", denoiser, experiment, step),
        loggers=_loggers(folder, recipe) if first else (),
        warn=warn,
    )
    with run.opened():
        if first and not ((folder / RECIPE).is_file() and load_recipe(folder / RECIPE) == recipe):
            replace_file(folder / RECIPE, dumps(recipe).encode())
        pace = Pace(say, experiment.source.event_shape, device, logging.sample_every) if first and say else None
        told = {} if pace is None else {"on_step": pace}
        denoiser = experiment.denoiser.to(device)
        result = fit(denoiser, experiment.source, run=run, progress=progress, **told, **experiment.fit)
        if first:
            _draw_curves(folder, result)
    if result.interrupted:
        raise Interrupted(result.history.step[-1], recipe.training.steps, folder)
    return replace(load(folder, warn=warn).to(device), examples=len(experiment.source)) if first else None


def check(folder: Path, recipe: Recipe) -> None:
    """Refuses to go on in `folder` with another recipe than the one there.

    Raises:
        ValueError: for one that differs in more than its length, its machine and its logging; by the first key.
    """
    if (folder / RECIPE).is_file() and (different := difference(load_recipe(folder / RECIPE), recipe)):
        key, there, here = different
        raise ValueError(f"a run goes on with the recipe in {folder}, where {key} is {there}; got {here}")


def _meta(experiment: Experiment) -> dict[str, Any]:
    """What every checkpoint of the run says of itself."""
    recipe, names = experiment.recipe, getattr(experiment.source, "class_names", ())
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "event_shape": list(experiment.source.event_shape),
        **({"class_names": list(names)} if names else {}),
        **({} if recipe.data.text is None else {"text": recipe.data.text.model_dump()}),
    }


def _loggers(folder: Path, recipe: Recipe) -> list[Logger]:
    logging, loggers = recipe.logging, []
    if logging.tensorboard:
        loggers.append(TensorBoard(folder / "tensorboard"))
    if logging.wandb:
        loggers.append(WandB(folder, project=logging.wandb, config=recipe.model_dump(mode="json")))
    return loggers


def _sample_into(folder: Path, denoiser: NetworkDenoiser | Generative, experiment: Experiment, step: int) -> None:
    """The same noise at every step, so that the pictures are of one growing up."""
    source = experiment.source
    if source.num_classes:
        cond = {"label": torch.arange(SHOWN) % source.num_classes}
    else:
        cond = source.batch(torch.arange(SHOWN) * len(source) // SHOWN).cond
    how = (
        {} if isinstance(denoiser, Generative) else {"nfe": None if isinstance(denoiser, FlowMap) else 20, "cond": cond}
    )
    drawn = draw(denoiser, experiment.transform, (SHOWN, *source.event_shape), **how)
    look = Look(
        class_names=tuple(getattr(source, "class_names", ())), masked=getattr(experiment.transform, "masked", False)
    )
    figure = samples.of_samples(drawn.raw, experiment.transform, look, how.get("cond", {}).get("label"))
    if figure is not None and distributed.rank() == 0:
        folder.mkdir(exist_ok=True)
        plots.save(figure, folder / f"step-{step:06d}.png")


def _draw_curves(folder: Path, result: Fit) -> None:
    history = result.history
    plots.save(plots.loss_curve(history.step, history.loss), folder / "training.png")
    if result.levels:
        plots.save(plots.loss_by_level(result.levels), folder / "levels.png")
