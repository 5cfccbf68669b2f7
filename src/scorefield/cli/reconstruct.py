"""`scorefield reconstruct`: what was there, given what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import METHODS, OPERATORS, known
from scorefield.cli import _options as opt
from scorefield.cli import _shards
from scorefield.cli._options import Wanted
from scorefield.cli._output import result_files, stem


@opt.reads(old={"--images": "--data"})
def reconstruct(
    run: opt.Run,
    operator: Annotated[
        str,
        typer.Option(
            "--operator",
            help=f"What is measured, one of: {', '.join(OPERATORS)}. With options after a colon, radon:views=30, "
            "blur:std=2,padding=zero; one after another with +.",
            show_default=False,
        ),
    ],
    noise_std: Annotated[
        float,
        typer.Option(
            "--noise-std", help="Standard deviation of the measurement's noise, in its units.", show_default=False
        ),
    ],
    data: opt.Data = None,
    index: opt.Index = None,
    measurement: Annotated[
        Path | None,
        typer.Option("--measurement", help="An .npy or .npz (array `y`) of real measurements, instead of pictures."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Of each posterior.")] = 16,
    method: Annotated[
        str | None,
        typer.Option("--method", help=f"One of: {', '.join(METHODS)}. [default: the best for the operator]"),
    ] = None,
    nfe: Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations a sample.")] = 50,
    label: opt.Label = None,
    no_label: opt.NoLabel = False,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="PNG to write, with .npz and .json beside it; or a folder/, for every datum there is, in shards. "
            "[default: in the run]",
            show_default=False,
        ),
    ] = None,
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
    kind: opt.Kind = None,
    shard: opt.Shard = None,
    chunk: opt.Chunk = None,
    *,
    reading: opt.Reading,
) -> None:
    """Posterior samples, mean, standard deviation and intervals of what was measured, with the run as the prior.

    Pictures are measured first (--operator and --noise-std simulate), so that truth and reconstruction stand side by
    side; with --measurement there is no truth. Grey values run from 0 (black) to 1 (white); numbers are as they are.
    No class is asked for unless --label says so: whoever measures does not know it.
    """
    wanted = Wanted(run, data, index, reading, label, no_label, seed, device, data_dir)
    if not 0 < noise_std < float("inf"):
        raise ValueError(f"--noise-std must be positive and finite; got {noise_std:g}")
    method = None if method is None else known("method", method, METHODS)
    if measurement is not None and (data is not None or index is not None):
        raise ValueError("--measurement takes the place of --data and --index: give one or the other")
    cut = _shards.asked(out, json, overwrite, kind, shard, chunk)
    named = stem("reconstruct", seed, data=data, operator=operator.partition(":")[0], method=method, label=label)
    files = None if cut else result_files(out, run, named, overwrite, json)

    from scorefield.cli import _reconstruct

    asked = _reconstruct.Asked(wanted, operator, noise_std, measurement, samples, method, nfe)
    if files is None:
        assert out is not None
        assert cut is not None
        _reconstruct.in_shards(asked, out, cut)
    else:
        _reconstruct.reconstruct(asked, files)
