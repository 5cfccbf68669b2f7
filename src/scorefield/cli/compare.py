"""`scorefield compare`: score-based models beside VAE and GANs, at equal data, size and time."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import note, to_json, warn, writable


def compare(
    data: Annotated[str, typer.Argument(help="25-gaussians, eight-gaussians, digits, mnist or fashion.")] = (
        "25-gaussians"
    ),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder; what is there goes on. [default: runs/compare-DATA]", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Of the processor, to train each network.")] = 10.0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="So many, 0, 1, ...; all are shown.")] = 5,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="Of each. [default: 2,000; 400 pictures]")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=4, help="Of long chains. [default: 500; 100 for pictures]")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only this one, by its name in the table; repeatable.")
    ] = None,
    json: opt.Json = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
) -> None:
    """Train, draw and measure every method; report.html, comparison.json and pictures. Goes on where it was stopped."""
    folder = writable(out or Path("runs") / f"compare-{data}")

    from scorefield.comparison import compare as compared
    from scorefield.comparison import sentences, write

    study = compared(
        folder, data, seconds=seconds, seeds=seeds, samples=samples, evaluations=evaluations, methods=method,
        data_dir=data_dir, say=note if json == "-" else typer.echo, warn=warn,
    )  # fmt: skip
    page = write(study)
    if to_json(json, jsons.loads((folder / "comparison.json").read_text(encoding="utf-8"))):
        return
    for line in sentences(study):
        typer.echo(line)
    typer.echo(str(page))
