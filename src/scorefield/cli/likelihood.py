"""`scorefield likelihood`: the density of data under a run, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli import _shards
from scorefield.cli._output import result_files, stem


@opt.reads
def likelihood(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    data: Annotated[
        str | None, typer.Option("--data", help="A name, a file or a folder. [default: the run's held-out data]")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", "-n", min=1, help="How many, drawn from the data without replacement. [default: 256; in shards, all]"
        ),
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option("--probes", min=0, help="Of the divergence; 0 is exact. [default: 8, exact up to 16 dimensions]"),
    ] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Of the solver, nats for each dimension.")] = 1e-3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Of the dequantisation noise, for integers.")] = 1,
    elbo_draws: Annotated[
        int, typer.Option("--elbo-draws", min=2, help="Evaluations for the lower bound beside it; even.")
    ] = 32,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of data, of probes and noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="PNG to write, with .npz and .json beside it; or a folder/, for any number, in shards. "
            "[default: in the run]",
            show_default=False,
        ),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    kind: opt.Kind = None,
    shard: opt.Shard = None,
    chunk: opt.Chunk = None,
    *,
    reading: opt.Reading,
) -> None:
    """Bits per dimension (integers) or log-density (continuous data) of data, and where the error comes from."""
    reading.needs(data, "--data")
    if not tolerance > 0:
        raise ValueError(f"--tolerance must be positive; got {tolerance:g}")
    if elbo_draws % 2:
        raise ValueError(f"--elbo-draws must be even; got {elbo_draws}")
    cut = _shards.asked(out, json, overwrite, kind, shard, chunk)
    files = None if cut else result_files(out, run, stem("likelihood", seed, data=data), overwrite, json)

    from scorefield.cli import _likelihood
    from scorefield.likelihood import Effort

    effort = Effort(tolerance=tolerance, draws=draws, elbo_draws=elbo_draws, seed=seed)
    asked = _likelihood.Asked(run, data, reading, n, probes, effort, device, data_dir)
    if files is None:
        assert out is not None
        assert cut is not None
        _likelihood.in_shards(asked, out, cut)
    else:
        _likelihood.run(asked, files)
