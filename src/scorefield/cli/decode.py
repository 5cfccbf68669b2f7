"""`scorefield decode`: latents back to data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._options import Wanted
from scorefield.cli._output import result_files


def decode(
    run: opt.Run,
    latents: Annotated[
        Path, typer.Argument(help="An .npz with z (N, ...), as `encode` writes it.", show_default=False)
    ],
    label: opt.Label = None,
    no_label: opt.NoLabel = False,
    nfe: Annotated[
        int | None, typer.Option("--nfe", min=1, help="Network evaluations. [default: as many as encoded them, or 64]")
    ] = None,
    device: opt.Device = None,
    out: opt.Out = None,
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Data of latents: those of `encode`, moved or not, or standard normals, which become samples.

    They are decoded under the class they were encoded under; with another --label, what a latent has beside the class
    is kept.
    """
    wanted = Wanted(run, label=label, no_label=no_label, device=device)
    named = f"decoded-{latents.stem}" + (f"-label-{'+'.join(label)}" if label else "")
    files = result_files(out, run, named, overwrite, json)

    from scorefield.cli import _latents

    _latents.decode(wanted, latents, nfe, files)
