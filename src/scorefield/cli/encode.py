"""`scorefield encode`: the latents of data under a run."""

from __future__ import annotations

from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def encode(
    run: opt.Run,
    data: opt.Data = None,
    index: opt.Index = None,
    label: opt.Label = None,
    no_label: opt.NoLabel = False,
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
    """Latents of data, about N(0, I), by the probability-flow ODE; says how far from the data a round trip ends."""
    wanted = Wanted(run, data, index, reading, label, no_label, seed, device, data_dir)
    files = result_files(out, run, stem("latents", seed, data=data, label=label), overwrite, json)

    from scorefield.cli import _latents

    _latents.encode(wanted, nfe, files)
