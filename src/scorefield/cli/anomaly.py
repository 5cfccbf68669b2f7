"""`scorefield anomaly`: which data are not like those a run was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import STATISTICS, known
from scorefield.cli import _options as opt
from scorefield.cli._output import result_files, stem


@opt.reads
def anomaly(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    data: Annotated[str, typer.Option("--data", help="What to judge: a name, a file or a folder.", show_default=False)],
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="What is normal, and was not trained on. [default: the run's held-out data]"),
    ] = None,
    statistic: Annotated[
        list[str] | None,
        typer.Option(
            "--statistic",
            help=f"One of: {', '.join(STATISTICS)}; repeatable, the first one ranks. [default: all that apply]",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many of each, drawn without replacement.")] = 500,
    fdr: Annotated[float, typer.Option("--fdr", help="False discovery rate of what is flagged.")] = 0.1,
    elbo: Annotated[
        bool, typer.Option("--elbo", help="Bound likelihoods instead of integrating: cheaper, noisier.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of data, of probes and noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="PNG to write, with .npz and .json beside it. [default: in the run]", show_default=False
        ),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    *,
    reading: opt.Reading,
) -> None:
    """Rank data by how little they are like the reference: p-values, discoveries at a rate, AUROC of set against set.

    What was measured of the reference is kept in the run, under detectors/, and used again.
    """
    names = [known("statistic", name, STATISTICS) for name in statistic or ()]
    if not 0 < fdr < 1:
        raise ValueError(f"--fdr must lie in (0, 1); got {fdr:g}")
    files = result_files(out, run, stem("anomaly", seed, data=data), overwrite, json)

    from scorefield.cli import _anomaly

    job = _anomaly.Job(data, reference, tuple(dict.fromkeys(names)), n, fdr, elbo, seed, reading)
    _anomaly.run(run, job, files, device=device, data_dir=data_dir)
