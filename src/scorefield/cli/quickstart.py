"""`scorefield quickstart`: the whole path on real digits, in under two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli._output import run_folder


def quickstart(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder, new or empty. [default: runs/quickstart]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights, the data order and the noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps, not the preset's own.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="A rehearsal in seconds: everything is written, no number means anything.")
    ] = False,
) -> None:
    """Train on 1,797 real handwritten digits, sample them, score them, and write report.html.

    No download: the 8x8 digits come with scikit-learn. Under two minutes on two cores.
    """
    folder = run_folder(out, "runs/quickstart")
    from scorefield.cli import _digits, _runs

    _digits.run(folder, seed=seed, device=_runs.device_of(device), steps=steps or (20 if fast else None), fast=fast)
