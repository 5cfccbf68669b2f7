"""`scorefield evaluate`: samples of a run against held-out data, each number with its interval and floor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, note, result_files, stem, warn

if TYPE_CHECKING:
    from scorefield.evaluation import Evaluation


@opt.reads
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    against: Annotated[
        str | None,
        typer.Option("--against", "--data", help="A name, a file or a folder. [default: the run's held-out data]"),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=20, help="Samples, and at most as many held-out data.")] = 1000,
    nfe: Annotated[int | None, typer.Option("--nfe", min=1, help="Network evaluations a sample. [default: 30]")] = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            help="raw, pca:K, a run of `train --task classifier`, or a .pt2 file of torch.export. "
            "[default: raw; pca:64 above 64 entries]",
        ),
    ] = None,
    likelihoods: Annotated[
        int,
        typer.Option(
            "--likelihoods",
            min=0,
            help="Held-out data whose likelihood is computed, and as many training data; 0: none.",
        ),
    ] = 64,
    level: Annotated[float, typer.Option("--level", help="Of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of samples, subsets and regroupings.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="PNG to write, with .json beside it. [default: in the run]", show_default=False),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    *,
    reading: opt.Reading,
) -> None:
    """How good a run's samples are: distances, fidelity, diversity, modes, copies; each with interval and floor."""
    reading.needs(against, "--against")
    if not 0 < level < 1:
        raise ValueError(f"--level must lie in (0, 1); got {level:g}")
    files = result_files(out, run, stem("evaluation", seed, data=against), overwrite, json, (".png", ".json"))

    from rich.progress import Progress

    from scorefield import plots
    from scorefield.cli import _results
    from scorefield.plots.evaluation import of_evaluation
    from scorefield.runs import evaluate as judged
    from scorefield.runs import load

    start = time.perf_counter()
    model = load(run, warn=warn).to(device)
    files.claim()
    with Progress(transient=True, disable=not at_a_terminal() or files.quiet) as bar:
        task = bar.add_task("evaluating", total=1.0)
        found, drawn, what = judged(
            model, against=against, policy=reading.policy, n=n, nfe=nfe, features=features, likelihoods=likelihoods,
            level=level, seed=seed, data_dir=data_dir,
            progress=lambda fraction: bar.update(task, completed=fraction), warn=note,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    plots.save(of_evaluation(found, model.look), files.picture)
    numbers: dict[str, Any] = {
        "run": str(run), "checkpoint": model.checkpoint, "against": what, "n": n, "nfe": drawn.nfe, "seed": seed,
        "metrics": [{**r.numbers, "verdict": r.verdict} for r in found.rows],
        "classes": [{**r.numbers, "verdict": r.verdict} for r in found.classes],
        "read_back": found.read_back, "read_back_real": found.read_back_real, "seconds": seconds,
    }  # fmt: skip
    _results.write_summary(files, numbers)
    if files.quiet:
        return
    typer.echo(str(found))
    _show(found, level, model.class_names)
    if found.corrected:
        typer.echo(f"intervals are about the value at infinite samples: {', '.join(found.corrected)}")
    where = f"{files.picture}, {files.summary.name}"
    typer.echo(f"{n} samples of {drawn.nfe} evaluations against {what}, in {seconds:.0f} s: {where}")


def _show(found: Evaluation, level: float, names: tuple[str, ...]) -> None:
    from rich.console import Console

    from scorefield.cli._results import number, table

    def row(numbers: dict[str, Any], name: str, verdict: str) -> list[str]:
        floor = "" if numbers["floor"] is None else number(numbers["floor"])
        ends = f"{number(numbers['low'])} to {number(numbers['high'])}"
        return [name, number(numbers["value"]), ends, floor, verdict]

    console, interval = Console(highlight=False), f"{level:.0%} interval"
    rows = [row(r.numbers, r.numbers["metric"].replace("_", " "), r.verdict) for r in found.rows]
    console.print(table(("metric", "value", interval, "floor", "verdict"), rows))
    if found.classes:
        called = names or tuple(str(k) for k in range(len(found.classes)))
        rows = [row(r.numbers, called[k], r.verdict) for k, r in enumerate(found.classes)]
        console.print(table(("class", "share", interval, "of real", "verdict"), rows))
    if found.read_back is not None:
        typer.echo(f"class read back: {found.read_back:.1%} of samples, {found.read_back_real:.1%} of real data")
