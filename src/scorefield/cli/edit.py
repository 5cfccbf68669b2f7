"""`scorefield edit`: data like those given, and farther from them the stronger the edit."""

from __future__ import annotations

from typing import Annotated

import typer

from scorefield.catalogue import SOLVERS, known
from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted, numbers
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def edit(
    run: opt.Run,
    data: opt.Data = None,
    index: opt.Index = None,
    strength: Annotated[
        list[str] | None,
        typer.Option("--strength", help="In [0, 1], several with commas between. [default: 0.2,0.4,0.6,0.8,1]"),
    ] = None,
    label: opt.Label = None,
    no_label: opt.NoLabel = False,
    solver: Annotated[
        str | None,
        typer.Option("--solver", help="As of `sample`; a stochastic one keeps less. [default: the best for --nfe]"),
    ] = None,
    nfe: Annotated[
        int | None, typer.Option("--nfe", min=1, help="Network evaluations for each strength. [default: 30]")
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    out: opt.Out = None,
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
    *,
    reading: opt.Reading,
) -> None:
    """Data given with noise, and without it again: another like it, or with another --label one of that class.

    Strength 0 returns what is given, 1 a fresh sample. To make only a part anew, see `inpaint`.
    """
    wanted = Wanted(run, data, index, reading, label, no_label, seed, device, data_dir)
    strengths = numbers("--strength", strength or ["0.2,0.4,0.6,0.8,1"], 0, 1)
    solver = None if solver is None else known("solver", solver, SOLVERS)
    named = stem("edit", seed, data=data, solver=solver, label=label)
    files = result_files(out, run, named, overwrite, json)

    from scorefield.cli import _editing

    _editing.edit(wanted, strengths, solver, nfe, files)
