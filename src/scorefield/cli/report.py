"""`scorefield report`: the page of a run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli._output import warn


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=1, help="Samples, and at most as many data. [default: 128; 64 large pictures; 1,000 vectors]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the samples.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
) -> None:
    """Write a run's report.html again: samples beside data, how far they are, errors by noise level, nearest data.

    One file for any browser, and report.json with its numbers. It replaces the ones before, also while the run goes on.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"no run at {run}")
    from scorefield.runs import load

    typer.echo(str(load(run, warn=warn).to(device).report(n=n, seed=seed, data_dir=data_dir)))
