"""`scorefield diagnose`: what is wrong with a run, worst first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import SOLVERS, known
from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, note, result_files, stem, warn


@opt.reads
def diagnose(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Argument(help="A name, a file or a folder to judge by. [default: held-out data]", show_default=False),
    ] = None,
    also: Annotated[str | None, typer.Option("--data", help="The same, as other commands take it.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=8, help="Data looked at, of each kind. [default: 256, more of small ones]")
    ] = None,
    nfe: Annotated[
        int | None, typer.Option("--nfe", min=1, help="Evaluations a sample, as you draw them. [default: 30]")
    ] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="As you draw them. [default: the best known]")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of data and the noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="PNG to write, with .html and .json beside it. [default: in the run]", show_default=False
        ),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    *,
    reading: opt.Reading,
) -> None:
    """What is wrong with a model in one sentence: at which noise level, what it costs, what to change. Then a page."""
    if also is not None and data is not None:
        raise ValueError(f"data were named twice, {data} and --data {also}: give one")
    data = data or also
    reading.needs(data, "--data")
    solver = None if solver is None else known("solver", solver, SOLVERS)
    named = stem("diagnosis", seed, data=data, solver=solver)
    results = result_files(out, run, named, overwrite, json, (".png", ".html", ".json"))

    from rich.console import Console

    from scorefield import plots
    from scorefield.plots.diagnosis import of_diagnosis, page
    from scorefield.runs import examine, load
    from scorefield.storage import files

    trained = load(run, warn=warn).to(device)
    results.claim()
    picture, page_ = results.picture, results.file(".html")
    quiet = not at_a_terminal() or results.quiet
    with Console(stderr=True, quiet=quiet).status("reading") as status:
        found = examine(
            trained,
            data,
            policy=reading.policy,
            n=n,
            nfe=nfe,
            solver=solver,
            seed=seed,
            data_dir=data_dir,
            report=status.update,
            warn=note,
        )
    plots.save(of_diagnosis(found), picture)
    page(found, page_, picture, title=f"Diagnosis: {trained.name}")
    files.replace(results.summary, found.to_json().encode())
    if results.quiet:
        typer.echo(found.to_json())
        return
    typer.echo(str(found))
    typer.echo(f"\n{picture}, {page_.name}, {results.summary.name}")
