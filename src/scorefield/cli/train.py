"""`scorefield train`: a recipe into a run folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import PRESETS, make, unknown
from scorefield.cli._output import at_a_terminal, run_folder, warn, writable


def train(
    preset: Annotated[
        str | None, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}. [default: digits]")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A recipe of yours, TOML.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Other data: a name, a file or a folder.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="classifier: of the recipe's noisy data, for classifier guidance.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Set one key of the recipe, e.g. optim.lr=1e-3; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder, new or empty. [default: runs/NAME]", show_default=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out; begin it if there is none. More --steps may be given."
        ),
    ] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's own number.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the weights, the data and the noise.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe and do nothing.")] = False,
) -> None:
    """Train a model. Ctrl-C or SIGTERM saves what is trained so far, for --resume, and exits with 75.

    Under torchrun every process takes its part: torchrun --nproc-per-node 2 -m scorefield train ...
    """
    if preset is not None and config is not None:
        raise ValueError("give --preset or --config, not both")
    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if task not in (None, "denoiser", "classifier"):
        raise unknown("task", task or "", ("denoiser", "classifier"))
    if resume and out is None:
        raise ValueError("--resume needs --out, the run to go on with")
    going_on = resume and out is not None and (out / "recipe.toml").is_file()
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes
    folder = out
    if out is not None and first and not show:
        folder = writable(out) if going_on else run_folder(out, "")

    from scorefield import recipes, runs
    from scorefield.runs.reporting import recent
    from scorefield.training import distributed

    changes = [f"data.source={json.dumps(data)}"] if data is not None else []
    changes += set_ or []
    changes += [f"training.steps={steps}"] if steps is not None else []
    changes += [f"seed={seed}"] if seed is not None else []
    kept = recipes.load(out / "recipe.toml") if going_on and out is not None else None
    if config is not None:
        recipe = recipes.load(config, changes)
    elif preset is not None or kept is None:
        recipe = recipes.override(make("preset", preset or "digits", PRESETS), changes)
    else:
        recipe = recipes.override(kept, changes)
    if task is not None and task != recipe.task:
        if task == "denoiser":
            raise ValueError(f"--task denoiser was given for a recipe with task = {recipe.task!r}")
        recipe = recipes.presets.classifier(recipe)
    # the command that began a run may be repeated, by torchrun after a fault, say; but a run keeps its recipe
    if kept is not None and out is not None:
        runs.check(out, recipe)
    if show:
        typer.echo(recipes.dumps(recipe), nl=False)
        return
    where = runs.device_of(device)
    with distributed.process_group():
        if folder is None and first:
            folder = run_folder(None, f"runs/{recipe.name}")
        folder = distributed.from_first(folder)
        run = runs.train(
            folder, recipe, device=where, data_dir=data_dir, progress=at_a_terminal(), warn=warn, say=typer.echo
        )
        if run is None:  # not the first process
            return
        report = run.report(data_dir=data_dir)
    history = run.history
    last = recent(history)
    if last is not None:
        loss = f"loss {last.loss:.4f} (mean of the last {last.steps})"
        typer.echo(f"{history.step[-1]} steps in {history.seconds[-1]:.1f} s, {loss}: {report}")
    guides = recipe.task == "classifier"
    typer.echo(f"next: scorefield sample {f'RUN --label 0 --classifier {folder}' if guides else folder}")
