"""`scorefield inpaint`: a part of data made anew."""

from __future__ import annotations

from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def inpaint(
    run: opt.Run,
    mask: Annotated[
        str,
        typer.Option(
            "--mask",
            help="What to make anew: left, right, top, bottom, centre, random:0.5, or a file (white; not 0).",
            show_default=False,
        ),
    ],
    data: opt.Data = None,
    index: opt.Index = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Attempts at each.")] = 4,
    label: opt.Label = None,
    no_label: opt.NoLabel = False,
    nfe: Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations for each attempt.")] = 250,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Walks over each stretch: more agree better, in fewer steps.")
    ] = 5,
    jump: Annotated[int, typer.Option("--jump", min=1, help="Steps in a stretch.")] = 5,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    out: opt.Out = None,
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
    *,
    reading: opt.Reading,
) -> None:
    """Keep a part of each datum, to the bit, and make the rest anew, by replacement and resampling (RePaint).

    For pictures. It is biased: the attempts are no posterior samples, and their spread is no uncertainty.
    """
    wanted = Wanted(run, data, index, reading, label, no_label, seed, device, data_dir)
    files = result_files(out, run, stem("inpaint", seed, data=data, label=label), overwrite, json)

    from scorefield.cli import _editing

    _editing.inpaint(wanted, mask, samples, nfe, resamples, jump, files)
