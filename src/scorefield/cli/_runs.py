"""What `train`, `sample` and `quickstart` have in common: a run folder, training into it, samples out of it.

A run folder holds `recipe.toml`, `checkpoints/`, `metrics.jsonl` (one line a training step), `samples/` and, once
trained, `training.png` and `levels.png`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import plots
from scorefield.cli._errors import Interrupted
from scorefield.cli._names import SOLVERS, resolve
from scorefield.data import Transform, units
from scorefield.denoisers import Denoiser, NetworkDenoiser, NoiseConditional
from scorefield.plots import samples
from scorefield.recipes import Experiment, Recipe, build, dumps
from scorefield.sampling import sample
from scorefield.sampling.driver import Callback
from scorefield.solvers import Bias, Solver
from scorefield.storage import checkpoints, models
from scorefield.storage.models import Checkpoint, ClassifierCheckpoint
from scorefield.training import Run, distributed, fit
from scorefield.training.loggers import Logger, TensorBoard, WandB
from scorefield.training.loop import Fit
from scorefield.training.progress import History

RECIPE = "recipe.toml"
SHOWN = 64  # samples in a picture drawn during training


class Trained(NamedTuple):
    """A recipe after training."""

    denoiser: NoiseConditional
    experiment: Experiment
    history: History


def at_a_terminal() -> bool:
    """Whether someone is there to see a progress bar."""
    return sys.stdout.isatty()


def device_of(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ValueError: if this machine has none of that name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise ValueError(f"device {name!r} can't be used here: {reason}") from None
    return device


def train_into(folder: Path, recipe: Recipe, *, device: torch.device, data_dir: Path | None = None) -> Trained:
    """Trains `recipe` in `folder`, going on from its last checkpoint if there is one.

    Raises:
        Interrupted: after SIGINT or SIGTERM, once what was trained so far is saved.
    """
    experiment = build(recipe, data_dir=data_dir)
    first = distributed.rank() == 0
    if first and not (folder / RECIPE).exists():
        models.replace(folder / RECIPE, dumps(recipe).encode())
    logging = recipe.logging
    run = Run(
        folder,
        meta={
            "recipe": recipe.name,
            "seed": recipe.seed,
            "event_shape": list(experiment.source.event_shape),
            **({} if recipe.data.text is None else {"text": recipe.data.text.model_dump()}),
        },
        checkpoint_every=logging.checkpoint_every,
        keep=logging.keep,
        keep_every=logging.keep_every,
        sample_every=logging.sample_every if recipe.task == "denoiser" else None,
        on_sample=lambda denoiser, step: _sample_into(folder / "samples", denoiser, experiment, step),
        loggers=_loggers(folder, recipe) if first else (),
        warn=lambda line: print(f"warning: {line}", file=sys.stderr),
    )
    with run.opened():
        result = fit(
            experiment.denoiser.to(device), experiment.source, run=run, progress=at_a_terminal(), **experiment.fit
        )
        if first:
            _draw_curves(folder, result)
    if result.interrupted:
        raise Interrupted(
            f"after step {result.history.step[-1]} of {recipe.training.steps}, which is saved. "
            f"Go on with: scorefield train --resume --out {folder}"
        )
    return Trained(result.denoiser, experiment, result.history)


def _loggers(folder: Path, recipe: Recipe) -> list[Logger]:
    logging, loggers = recipe.logging, []
    if logging.tensorboard:
        loggers.append(TensorBoard(folder / "tensorboard"))
    if logging.wandb:
        loggers.append(WandB(folder, project=logging.wandb, config=recipe.model_dump(mode="json")))
    return loggers


def _sample_into(folder: Path, denoiser: NetworkDenoiser, experiment: Experiment, step: int) -> None:
    """The same noise at every step, so that the pictures are of one growing up."""
    source = experiment.source
    label = torch.arange(SHOWN) % source.num_classes if source.num_classes else None
    others = source.batch(torch.arange(SHOWN) * len(source) // SHOWN).cond if label is None else {}
    drawn = draw(
        denoiser, experiment.transform, (SHOWN, *source.event_shape), nfe=20, label=label, cond=others, progress=False
    )
    figure = samples.of_samples(drawn.raw, experiment.transform)
    if figure is not None and distributed.rank() == 0:
        folder.mkdir(exist_ok=True)
        plots.save(figure, folder / f"step-{step:06d}.png")


def _draw_curves(folder: Path, result: Fit) -> None:
    history = result.history
    plots.save(plots.loss_curve(history.step, history.loss), folder / "training.png")
    plots.save(plots.loss_by_level(result.levels), folder / "levels.png")


def load_run(run: Path) -> Checkpoint:
    """The averaged model of a run folder's last whole checkpoint, or of a file.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it is damaged.
    """
    return models.load(_weights(run))


def load_classifier_run(run: Path) -> ClassifierCheckpoint:
    """The same of a run of `train --task classifier`."""
    return models.load_classifier(_weights(run))


def _weights(run: Path) -> Path:
    """The file of the averaged model."""
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    if run.is_file():
        return run
    newest = checkpoints.latest(run / "checkpoints", lambda line: print(f"warning: {line}", file=sys.stderr))
    if newest is None:
        raise FileNotFoundError(f"no checkpoint in {run / 'checkpoints'}")
    return newest / "ema.safetensors"


def labels(asked: list[int] | None, n: int, classes: int | None) -> list[int] | None:
    """The classes asked for, in turn, for `n` samples of a model of so many classes.

    Raises:
        ValueError: if it has none, or not that many.
    """
    if not asked:
        return None
    if classes is None:
        raise ValueError("--label was given, but this model was trained without labels")
    wrong = [label for label in asked if not 0 <= label < classes]
    if wrong:
        raise ValueError(f"--label must lie in 0..{classes - 1}; got {wrong[0]}")
    return [asked[i % len(asked)] for i in range(n)]


class Drawn(NamedTuple):
    """Samples of a model."""

    model: Tensor  # (N, *event), model units
    raw: Tensor  # the data's own units: grey values, int64, where the data have levels
    nfe: int
    bias: Bias  # of the solver's steps, on Gaussian data


def draw(
    denoiser: Denoiser,
    transform: Transform | None,
    shape: tuple[int, ...],
    *,
    solver: str | Solver | None = None,
    nfe: int | None = None,
    label: Tensor | None = None,
    cond: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    first_index: int = 0,
    progress: bool | None = None,
    callback: Callback | None = None,
) -> Drawn:
    """Samples of the given `shape` `(N, *event)`; sample i depends on (seed, first_index + i) alone.

    `cond` holds conditions besides `label`, a row for each sample.
    """
    device = next(denoiser.parameters()).device
    result = sample(
        denoiser,
        shape,
        solver=resolve("solver", solver, SOLVERS) if isinstance(solver, str) else solver,
        nfe=nfe,
        cond={k: v.to(device) for k, v in {**(cond or {}), **({} if label is None else {"label": label})}.items()},
        seed=seed,
        first_index=first_index,
        progress=at_a_terminal() if progress is None else progress,
        callback=callback,
    )
    x = result.x.cpu()
    return Drawn(x, units.raw(x, transform), result.nfe, result.bias)


def save_npz(path: Path, **arrays: Any) -> Path:
    """Writes arrays of numbers; nothing in the file is a pickle."""
    plain = {name: np.asarray(a) for name, a in arrays.items()}
    assert all(a.dtype.kind in "biuf" for a in plain.values())
    np.savez_compressed(path, **plain)  # type: ignore[arg-type]
    return path
