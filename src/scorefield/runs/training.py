"""A recipe into a run folder.

The folder holds `recipe.toml`, `checkpoints/`, `metrics.jsonl` (one line a training step), `samples/` and, once it is
trained, `training.png` and `levels.png`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scorefield import plots, recipes
from scorefield._caller import warn as warn_caller
from scorefield.baselines import Generative
from scorefield.catalogue import SHAPES
from scorefield.denoisers import NetworkDenoiser
from scorefield.flowmaps import FlowMap
from scorefield.plots import samples
from scorefield.randomness import Stream
from scorefield.recipes import Experiment, Recipe
from scorefield.runs import data
from scorefield.runs.bound import ACCEPTED, RECIPE, check, units_of
from scorefield.runs.device import device_of
from scorefield.runs.drawing import draw, look_of
from scorefield.runs.pace import Pace
from scorefield.runs.trained import Trained, load
from scorefield.storage import files
from scorefield.training import Fit, Logger, Run, TensorBoard, WandB, distributed, fit
from scorefield.training.run import METRICS

SHOWN = 64  # samples in a picture drawn during training
ROWS = 512  # of a table


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
    resume: bool = True,
    accept: Collection[str] = (),
    start_over: bool = False,
    say: Callable[[str], None] | None = None,
    warn: Callable[[str], None] = warn_caller,
) -> Trained | None:
    """Trains `recipe` in `folder`, going on from its last checkpoint if there is one.

    A run goes on with its own recipe, that of its checkpoints, but for its length, its machine and its logging: those
    the folder's recipe takes over. The folder's recipe has absolute paths, so that its data are found from any working
    directory, and says what was held out. A start that fails leaves nothing behind.

    Under torchrun every process calls this alike; those that are not the first write nothing and get None.

    Args:
        folder: made if missing.
        device: the best there is unless given.
        data_dir: where downloaded sets lie.
        progress: show a bar.
        resume: False refuses a folder that holds a run.
        accept: what may have changed since the run began: "data", to go on with others in the units of those it was
            begun with, "recipe", to go on with this one.
        start_over: where a run was, and none of its checkpoints can be used: set aside what it left, and begin.
        say: takes a line about how the data were read and what is held out of them, and after a few steps about what
            training will take.
        warn: takes a line about a damaged checkpoint that was passed over.

    Raises:
        Interrupted: after SIGINT or SIGTERM, once what was trained so far is saved.
        ValueError: for a recipe that can't be built or is not the run's, data that are not, a folder that is in use, or
            has a run none of whose checkpoints can be used.
        FileNotFoundError: for data that are not there.
        FloatingPointError: as `fit`.
    """
    folder, device = Path(folder), device_of(device)
    if wrong := [name for name in accept if name not in ACCEPTED]:
        raise ValueError(f"accept takes {' and '.join(ACCEPTED)}; got {wrong[0]!r}")
    recipe = check(folder, recipes.absolute(recipe, Path()), accept)
    units = units_of(folder, warn) if "data" in accept else None
    experiment = recipes.build(recipe, data_dir=data_dir, transform=units)
    recipe = check(folder, experiment.recipe, accept)  # again: whether there is enough to hold some out is known now
    first = distributed.rank() == 0
    if first and say is not None:
        for line in (*getattr(experiment.source, "said", ()), *([experiment.read] if experiment.read else [])):
            say(line)
    logging = recipe.logging
    run = Run(
        folder,
        meta=_meta(experiment),
        recipe=recipes.dumps(recipe.model_copy(update={"logging": type(logging)()})),  # equal runs may log otherwise
        accept=accept,
        start_over=start_over,
        checkpoint_every=logging.checkpoint_every,
        keep=logging.keep,
        keep_every=logging.keep_every,
        sample_every=logging.sample_every if recipe.task != "classifier" else None,
        on_sample=lambda denoiser, step: _sample_into(folder / "samples", denoiser, experiment, step),
        warn=warn,
    )
    with _or_nothing(folder) if first else contextlib.nullcontext(), run.opened():
        if first:
            if not resume and any(os.path.lexists(folder / name) for name in (RECIPE, *_OF_STEPS[:2])):
                raise ValueError(f"{folder} holds a run, which another process has begun meanwhile")
            if check(folder, recipe, accept) != recipe:  # what holds now that nobody else writes there
                raise ValueError(f"{folder / RECIPE} was changed by another process meanwhile: try again")
            if not ((folder / RECIPE).is_file() and recipes.begun(folder / RECIPE) == recipe):
                files.replace(folder / RECIPE, recipes.dumps(recipe).encode())
            if recipe.data.source not in SHAPES and ("data" in accept or not (folder / data.ROWS).is_file()):
                data.record(folder, experiment.source)
            run.loggers = _loggers(folder, recipe)
        pace = Pace(say, experiment.source.event_shape, device, logging.sample_every) if first and say else None
        told = {} if pace is None else {"on_step": pace}
        denoiser = experiment.denoiser.to(device)
        result = fit(denoiser, experiment.source, run=run, progress=progress, **told, **experiment.fit)
        if first:
            _draw_curves(folder, result)
    if result.interrupted:
        raise Interrupted(result.history.step[-1], recipe.training.steps, folder)
    return replace(load(folder, warn=warn).to(device), examples=len(experiment.source)) if first else None


@contextlib.contextmanager
def _or_nothing(folder: Path) -> Iterator[None]:
    """Takes away a new or empty run folder, and the folders made to hold it, if what follows raises before a step."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    empty = not folder.is_dir() or not any(folder.iterdir())
    try:
        yield
    except BaseException:
        if empty and folder.is_dir() and not any(path for name in _OF_STEPS for path in folder.glob(name)):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in new:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        raise


_OF_STEPS = (METRICS, "checkpoints", "dump-*")  # what a run that made one has


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
    for name in ("tensorboard", "wandb"):  # written by others, who follow links
        files.refuse_link(folder / name)
    if logging.tensorboard:
        loggers.append(TensorBoard(folder / "tensorboard"))
    if logging.wandb:
        loggers.append(WandB(folder, project=logging.wandb, config=recipe.model_dump(mode="json")))
    return loggers


def _sample_into(folder: Path, denoiser: NetworkDenoiser | Generative, experiment: Experiment, step: int) -> None:
    """The same noise at every step, so that the pictures are of one growing up."""
    source, table = experiment.source, getattr(experiment.transform, "table", None)
    shown = SHOWN if table is None else ROWS
    real = source.batch(torch.arange(shown) * len(source) // shown if table is None else _spread(len(source), shown))
    if source.num_classes and table is not None:
        cond = {"label": table.drawn_classes(shown, Stream(0, torch.arange(shown)))}
    else:
        cond = {"label": torch.arange(shown) % source.num_classes} if source.num_classes else real.cond
    how = (
        {} if isinstance(denoiser, Generative) else {"nfe": None if isinstance(denoiser, FlowMap) else 20, "cond": cond}
    )
    drawn = draw(denoiser, experiment.transform, (shown, *source.event_shape), **how)
    look = look_of(experiment.transform, getattr(source, "class_names", ()), experiment.recipe.data)
    label = how.get("cond", {}).get("label")
    figure = samples.of_samples(drawn.raw, experiment.transform, look, label, real.x)
    if figure is not None and distributed.rank() == 0:
        plots.save(figure, files.subfolder(folder) / f"step-{step:06d}.png")


def _spread(n: int, most: int) -> torch.Tensor:
    return torch.arange(min(n, most)) * n // min(n, most)


def _draw_curves(folder: Path, result: Fit) -> None:
    history = result.history
    plots.save(plots.loss_curve(history.step, history.loss), folder / "training.png")
    if result.levels:
        plots.save(plots.loss_by_level(result.levels), folder / "levels.png")
