"""`scorefield distill`: a run's ODE into a flow map, which samples in one to four evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import known
from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, made, note, to_json, unused, warn

METHODS = ("lagrangian", "mean_flow", "consistency", "distribution_matching")


def distill(
    run: Annotated[Path, typer.Argument(help="The teacher: the run folder of a denoiser.", show_default=False)],
    method: Annotated[str, typer.Option("--method", help=f"One of: {', '.join(METHODS)}.")] = "lagrangian",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps. [default: the teacher's]")
    ] = None,
    jumps: Annotated[
        int | None,
        typer.Option(
            "--jumps", min=1, help="Evaluations a sample, of distribution_matching. [default: 1; others: any]"
        ),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="Begin with the weights of this student, not with the teacher's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Set one key of the recipe, e.g. optim.lr=1e-4; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder, new or empty. [default: RUN-METHOD]", show_default=False)
    ] = None,
    json: opt.Json = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
) -> None:
    """Train a few-step model on a run, beginning with its weights: samples of 1, 2, 4 evaluations. See `audit`."""
    method = known("method", method, METHODS)
    if not run.is_dir():
        raise FileNotFoundError(f"no run at {run}")
    out = out or run.parent / f"{run.name}-{method}"
    going_on = resume and (out / "recipe.toml").is_file()
    with made(out if going_on else unused(out)):
        from scorefield import recipes, runs

        teacher = runs.load(run, warn=warn)
        if teacher.recipe is None:
            raise ValueError(f"{run} has no recipe.toml to say what it was trained on")
        began = [f"start={start.resolve()}"] if start is not None else []
        changes = [*(set_ or []), *began, *([f"training.steps={steps}"] if steps is not None else [])]
        recipe = recipes.override(
            recipes.presets.distilled(teacher.recipe, str(run.resolve()), method, jumps=jumps), changes
        )
        if going_on:
            recipe = runs.check(out, recipe)
        where = runs.device_of(device)
        student = runs.train(
            out, recipe, device=where, data_dir=data_dir, resume=resume, progress=at_a_terminal(), warn=warn, say=note
        )
    if student is not None:
        report, history = student.report(data_dir=data_dir), student.history
        numbers = {
            "run": str(out), "teacher": str(run), "method": method, "steps": history.step[-1],
            "seconds": history.seconds[-1], "report": str(report),
        }  # fmt: skip
        if to_json(json, numbers):
            return
        typer.echo(f"{history.step[-1]} steps in {history.seconds[-1]:.1f} s: {report}")
        typer.echo(f"next: scorefield audit {out}; scorefield sample {out}")
