"""`scorefield quickstart`: the whole path on real digits, in under two minutes."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import at_a_terminal, note, run_folder, to_json, warn


def quickstart(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder, new or empty. [default: runs/quickstart]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights, the data order and the noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps, not the preset's own.")] = None,
    json: opt.Json = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="A rehearsal in seconds: everything is written, no number means anything.")
    ] = False,
) -> None:
    """Train on 1,797 real handwritten digits, sample them, score them, and write report.html.

    No download: the 8x8 digits come with scikit-learn. Under two minutes on two cores.
    """
    folder = run_folder(out, "runs/quickstart", note if json == "-" else typer.echo)

    from rich.console import Console

    from scorefield.cli import _results
    from scorefield.demos import digits
    from scorefield.runs import device_of

    shown = digits.run(
        folder, seed=seed, device=device_of(device), steps=steps or (20 if fast else None), fast=fast,
        progress=at_a_terminal() and json != "-", say=note if json == "-" else typer.echo, warn=warn,
    )  # fmt: skip
    if to_json(json, jsons.loads((folder / "metrics.json").read_text(encoding="utf-8"))):
        return
    console = Console(highlight=False)
    console.print(_results.table(["measured", "value", "beside it"], shown.rows))
    console.print(f"report: {shown.report}", soft_wrap=True)
