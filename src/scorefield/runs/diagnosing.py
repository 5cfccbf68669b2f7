"""A run, examined: `diagnose` on the data it was trained on, those it was not, and its last weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield import recipes
from scorefield._caller import warn as warn_caller
from scorefield.catalogue import SOLVERS, make
from scorefield.data import Source
from scorefield.denoisers import Denoiser
from scorefield.diagnostics import Diagnosis, diagnose
from scorefield.runs.trained import Trained
from scorefield.storage import models

LOOKED_AT = 2048  # data of each kind; more are not needed for the references


def examine(
    run: Trained,
    named: str | None = None,
    *,
    policy: Mapping[str, Any] | None = None,
    n: int | None = None,
    nfe: int | None = None,
    solver: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    report: Callable[[str], None] | None = None,
    warn: Callable[[str], None] = warn_caller,
) -> Diagnosis:
    """What is wrong with the run's denoiser: see `sf.diagnose`.

    Args:
        named: data to judge by, a name or a path; the recipe's held-out data unless given.
        policy: of the reader of named data, before the recipe's own.
        n: data looked at, of each kind; as many as it takes unless given.
        nfe, solver: that samples are made with; the default ones unless given.
        seed: of the choice of data and the noise.
        data_dir: where downloaded sets lie.
        report: told what is being done.
        warn: takes a line about data that the run was trained on.

    Raises:
        ValueError: for a classifier or a flow; without a recipe and named data; as `sf.diagnose`.
        FileNotFoundError: for data that are not there.
    """
    found = run.held_out(named, policy=policy, data_dir=data_dir)
    source, apart = found.source, found.apart
    for line in found.notes:
        warn(line)
    training = recipes.training_data(run.recipe.data, data_dir=data_dir) if run.recipe is not None else source
    x, cond = _read(run, training, seed)
    other, other_cond = _read(run, source, seed + 1) if apart and run.recipe is not None else (None, {})
    return diagnose(
        run.denoiser, x, held_out=other, cond=cond, held_out_cond=other_cond, present=_present(run), n=n, nfe=nfe,
        solver=None if solver is None else make("solver", solver, SOLVERS), seed=seed, report=report,
    )  # fmt: skip


def _read(run: Trained, source: Source, seed: int) -> tuple[Tensor, dict[str, Any]]:
    """Some of the data in the model's units, and their conditions."""
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[:LOOKED_AT].sort().values
    raw, cond = source.batch(rows)
    told = {name: torch.as_tensor(value) for name, value in cond.items()} if run.conditions else {}
    return run.to_model(raw, rows, seed=seed), told


def _present(run: Trained) -> Denoiser | None:
    """The model with its last weights, where the run has kept them beside the averaged ones."""
    path = run.path.with_name("model.safetensors")
    if run.folder is None or not path.is_file():
        return None
    model = models.read(path)[0].to(run.device)
    return model if isinstance(model, Denoiser) else None
