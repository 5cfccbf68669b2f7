"""`scorefield move`: an attribute given to data, or taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted, numbers
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def move(
    run: opt.Run,
    having: Annotated[Path, typer.Option("--with", help="Data that have the attribute.", show_default=False)],
    lacking: Annotated[Path, typer.Option("--without", help="Data that do not.", show_default=False)],
    amount: Annotated[
        list[str] | None,
        typer.Option("--amount", help="Of the mean difference, with commas between. [default: -1,-0.5,0,0.5,1]"),
    ] = None,
    data: opt.Data = None,
    index: opt.Index = None,
    label: opt.Label = None,
    nfe: Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations, there and again back.")] = 64,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    out: opt.Out = None,
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
    *,
    reading: opt.Reading,
) -> None:
    """Add to the latents of data the mean difference between the latents of two sets: those with, those without.

    1 is the whole difference; a negative amount takes the attribute away. No class is asked for, unless --label is.
    """
    wanted = Wanted(run, data, index, reading, label, not label, seed, device, data_dir)
    amounts = numbers("--amount", amount or ["-1,-0.5,0,0.5,1"], -10, 10)
    files = result_files(out, run, stem("move", seed, data=data, label=label), overwrite, json)

    from scorefield.cli import _latents

    _latents.move(wanted, having, lacking, amounts, nfe, files)
