"""`scorefield tune`: a sampler fitted to one trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, to_json, warn


def tune(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    nfe: Annotated[int, typer.Option("--nfe", min=2, help="Network evaluations a sample.", show_default=False)],
    paths: Annotated[int, typer.Option("--paths", min=2, help="Trajectories to fit on; as many judge it.")] = 128,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the trajectories' noise.")] = 0,
    json: opt.Json = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
) -> None:
    """Fit a sampler of --nfe evaluations to a trained model: its grid and coefficients, against its own fine paths.

    The result is kept in the run, tuned/nfe-N.json, if it is nearer than the default on held-out noise, and
    `scorefield sample RUN --nfe N` uses it. Trains nothing.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"no run at {run}")
    from rich.progress import Progress

    from scorefield.runs import load

    trained = load(run, warn=warn).to(device)
    with Progress(transient=True, disable=not at_a_terminal() or json == "-") as bar:
        task = bar.add_task("tuning", total=1.0)
        found = trained.tune(
            nfe, paths=paths, seed=seed, progress=lambda fraction: bar.update(task, completed=fraction)
        )
    kept = trained.keep(nfe, found) if found.helps else None
    figures = {"default": found.default, "tuned": found.tuned, "fine paths": found.teacher}
    made = {"run": str(run), "nfe": nfe, "paths": paths, "seed": seed, "kept": None if kept is None else str(kept)}
    if to_json(json, made | {name.replace(" ", "_"): distance._asdict() for name, distance in figures.items()}):
        return
    typer.echo(f"distance to the model's own fine paths, {paths} samples of held-out noise, {nfe} evaluations")
    typer.echo(f"{'':10s} {'RMS':>9s} {'median':>9s}")
    for name, distance in figures.items():
        typer.echo(f"{name:10s} {distance.rms:9.2g} {distance.median:9.2g}")
    typer.echo("not kept: the default is as near" if kept is None else f"kept: {kept}")
