"""`scorefield train`: a preset into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli._errors import unknown
from scorefield.cli._names import PRESETS
from scorefield.cli._output import run_folder


def train(
    preset: Annotated[str, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}.")] = "digits",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder, new or empty. [default: runs/PRESET]", show_default=False),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the preset's own number.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights, the data order and the noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
) -> None:
    """Train a model and save it. Ctrl-C saves what is trained so far."""
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    folder = run_folder(out, f"runs/{preset}")
    from scorefield.cli import _runs

    trained = _runs.train_into(folder, preset, seed=seed, device=_runs.device_of(device), steps=steps)
    last = trained.history.loss[-100:]
    typer.echo(
        f"{len(trained.history.step)} steps in {trained.history.seconds[-1]:.1f} s, "
        f"loss {sum(last) / len(last):.4f} (mean of the last {len(last)}): {folder / _runs.MODEL}"
    )
    typer.echo(f"next: scorefield sample {folder}")
