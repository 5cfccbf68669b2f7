"""`scorefield interpolate`: paths between data, through data."""

from __future__ import annotations

from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted, places
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def interpolate(
    run: opt.Run,
    index: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--index", help="Two ends, or as many first as last: 3 8, or 0-4 5-9. [default: 0-4 5-9; of your own, 0 1]"
        ),
    ] = None,
    data: opt.Data = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Data on a path, both ends among them.")] = 9,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Class, by name or number, of the whole path; repeat it for several paths in turn. [default: none]",
        ),
    ] = None,
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
    """From one datum to another by way of data: the decoded arc between their latents."""
    wanted = Wanted(run, data, None, reading, label, False, seed, device, data_dir)
    ends = index or (("0-4", "5-9") if data is None else ("0", "1"))
    if len(places(ends[0])) != len(places(ends[1])):
        raise ValueError(f"--index must give as many first ends as last; got {ends[0]} and {ends[1]}")
    files = result_files(out, run, stem("interpolation", seed, data=data, label=label), overwrite, json)

    from scorefield.cli import _latents

    _latents.interpolate(wanted, ends, steps, nfe, files)
