"""`scorefield tune`: a sampler fitted to one trained model, or chosen for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, to_json, warn

if TYPE_CHECKING:
    from scorefield.runs import Choice, Trained


def tune(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    nfe: Annotated[int, typer.Option("--nfe", min=2, help="Network evaluations a sample.", show_default=False)],
    aim: Annotated[
        Literal["path", "quality"],
        typer.Option(
            "--for", help="path: nearest to the model's own fine paths. quality: samples nearest to the data."
        ),
    ] = "path",
    paths: Annotated[int, typer.Option("--paths", min=2, help="Trajectories to fit on; as many judge it.")] = 128,
    n: Annotated[int, typer.Option("--n", min=20, help="Samples of each solver, with --for quality.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the trajectories' noise.")] = 0,
    json: opt.Json = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
) -> None:
    """Fit a sampler of --nfe evaluations to a trained model: its grid and coefficients, against its own fine paths.

    With --for quality the solver is chosen whose samples are nearest to held-out data: a network errs, and which solver
    makes the best of its errors is measured. What is found is kept in the run, tuned/nfe-N.json, if it is better than
    the default, and `scorefield sample RUN --nfe N` uses it. Trains nothing.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"no run at {run}")
    from rich.progress import Progress

    from scorefield.runs import choose, load

    trained = load(run, warn=warn).to(device)
    with Progress(transient=True, disable=not at_a_terminal() or json == "-") as bar:
        task = bar.add_task("tuning", total=1.0)
        if aim == "quality":
            choice = choose(trained, nfe, n=n, seed=seed, progress=lambda done: bar.update(task, completed=done))
            return _chosen(trained, run, nfe, seed, choice, json)
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


def _chosen(trained: Trained, run: Path, nfe: int, seed: int, choice: Choice, json: str | None) -> None:
    kept = trained.keep(nfe, choice) if choice.helps else None
    made = {"run": str(run), "nfe": nfe, "seed": seed, "kept": None if kept is None else str(kept)}
    if to_json(json, made | choice._asdict()):
        return
    typer.echo(
        f"Frechet distance to {choice.data} in their principal components, {choice.n} samples, {nfe} evaluations"
    )
    typer.echo(f"{'':18s} {'distance':>10s} {'less than the default by':>26s}")
    for name, distance in choice.distance.items():
        gain, error = choice.gain.get(name, (0.0, 0.0))
        typer.echo(f"{name:18s} {distance:10.4g}" + ("" if name == "default" else f" {gain:14.3g} +- {error:.2g}"))
    typer.echo("not kept: none is surely better than the default" if kept is None else f"kept: {kept}, {choice.solver}")
