"""`scorefield train`: a recipe into a run folder."""

from __future__ import annotations

import contextlib
import json as jsons
import os
from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import PRESETS, known, make
from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, file_name, free_folder, made, note, to_json, unused, warn


@opt.reads
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
            "--resume",
            help="Go on with the run in --out, for more --steps if given. With --preset or --config: or begin it.",
        ),
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            help="data or recipe: go on although it is not the run's own any more; data keep the run's units.",
        ),
    ] = None,
    start_over: Annotated[
        bool,
        typer.Option(
            "--start-over", help="Begin again where a run has no whole checkpoint left; what it left is set aside."
        ),
    ] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's own number.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the weights, the data and the noise.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    json: opt.Json = None,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe and do nothing.")] = False,
    *,
    reading: opt.Reading,
) -> None:
    """Train a model. Ctrl-C or SIGTERM saves what is trained so far, for --resume, and exits with 75.

    Under torchrun every process takes its part: torchrun --nproc-per-node 2 -m scorefield train ...
    """
    if preset is not None and config is not None:
        raise ValueError("give --preset or --config, not both")
    preset = None if preset is None else known("preset", preset, PRESETS)
    task = None if task is None else known("task", task, ("denoiser", "classifier"))
    if resume and out is None:
        raise ValueError("--resume needs --out, the run to go on with")
    if resume and out is not None and (out / "checkpoints").is_dir() and not (out / "recipe.toml").is_file():
        from scorefield import runs

        runs.recover(out, note)
    going_on = resume and out is not None and (out / "recipe.toml").is_file()
    if resume and not going_on and preset is None and config is None:
        raise ValueError(f"--resume: there is no run in {out}. To begin one there, say which: --preset or --config")
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes
    with contextlib.ExitStack() as stack:
        if out is not None and first and not show:  # before anything heavy is imported, and not left behind
            stack.enter_context(made(out if going_on else unused(out)))

        from scorefield import recipes, runs
        from scorefield.runs.reporting import recent
        from scorefield.training import distributed

        changes = [f"data.source={jsons.dumps(data)}"] if data is not None else []
        changes += [f"data.policy.{name}={jsons.dumps(value)}" for name, value in reading.policy.items()]
        changes += set_ or []
        changes += [f"training.steps={steps}"] if steps is not None else []
        changes += [f"seed={seed}"] if seed is not None else []
        kept = recipes.begun(out / "recipe.toml") if going_on and out is not None else None
        if config is not None:
            recipe = recipes.load(config, changes)
        elif preset is not None or kept is None:
            recipe = make("preset", preset or "digits", PRESETS)
            if data is not None:
                recipe = recipes.without_policy(recipe, data)
            recipe = recipes.override(recipe, changes)
        else:
            recipe = recipes.override(kept, changes)
        if task is not None and task != recipe.task:
            if task == "denoiser":
                raise ValueError(f"--task denoiser was given for a recipe with task = {recipe.task!r}")
            recipe = recipes.presets.classifier(recipe)
        # the command that began a run may be repeated, by torchrun after a fault, say; but a run keeps its recipe
        if kept is not None and out is not None:
            recipe = runs.check(out, recipe, accept or ())
        if show:
            typer.echo(recipes.dumps(recipe), nl=False)
            return
        where = runs.device_of(device)
        with distributed.process_group():
            folder = out
            if folder is None and first:
                folder = free_folder(f"runs/{file_name(recipe.name)}", note if json == "-" else typer.echo)
                stack.enter_context(made(folder))
            folder = distributed.from_first(folder)
            run = runs.train(
                folder,
                recipe,
                device=where,
                data_dir=data_dir,
                resume=resume,
                accept=accept or (),
                start_over=start_over,
                progress=at_a_terminal() and json != "-",
                warn=warn,
                say=note,
            )
            if run is None:  # not the first process
                return
            report = run.report(data_dir=data_dir)
    history = run.history
    last = recent(history)
    numbers = {
        "run": str(folder), "checkpoint": run.checkpoint, "steps": history.step[-1] if history.step else None,
        "seconds": history.seconds[-1] if history.seconds else None, "loss": None if last is None else last.loss,
        "data": run.recipe.data.source if run.recipe else None, "trained_on": run.examples, "report": str(report),
    }  # fmt: skip
    if to_json(json, numbers):
        return
    if last is not None:
        loss = f"loss {last.loss:.4f} (mean of the last {last.steps})"
        typer.echo(f"{history.step[-1]} steps in {history.seconds[-1]:.1f} s, {loss}: {report}")
    guides = recipe.task == "classifier"
    typer.echo(f"next: scorefield sample {f'RUN --label 0 --classifier {folder}' if guides else folder}")
