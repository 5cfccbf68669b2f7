"""Any number of samples, in a folder of shards, alone or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from scorefield.cli._output import at_a_terminal, warn

if TYPE_CHECKING:
    from scorefield.runs import Trained


class Asked(NamedTuple):
    """Which samples, in which files."""

    n: int
    kind: str
    shard: int | None
    chunk: int | None
    seed: int
    nfe: int | None
    solver: str | None
    label: tuple[str, ...]
    text: tuple[str, ...]


def write(
    run: Path,
    folder: Path,
    asked: Asked,
    adapt: Callable[[Trained], Trained],
    how: Mapping[str, Any],
    device: str | None,
) -> None:
    """Makes what is missing of this process's shards, and says what is there.

    Args:
        adapt: the run, guided and clipped as was asked, which `how` says in plain values.

    Raises:
        ValueError: as `runs.many.plan` and `runs.many.sample_shards`.
    """
    import torch
    from rich.progress import Progress

    from scorefield.runs import load, many

    loaded = load(run, warn=warn)
    planned = many.plan(loaded, **asked._asdict(), **how)
    place = os.environ.get("LOCAL_RANK")
    if device is None and place is not None and torch.cuda.is_available():
        device = f"cuda:{place}"
    first = os.environ.get("RANK", "0") == "0"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    with Progress(transient=True, disable=not (first and at_a_terminal())) as bar:
        task = bar.add_task("sampling", total=-(-planned.count // world))
        done = many.sample_shards(
            adapt(loaded).to(device), folder, planned, warn=warn, progress=lambda: bar.advance(task)
        )
    if done.missing:
        if world == 1:
            raise ValueError(f"{folder}: {done.missing} shards are missing: something else writes there")
        return  # another process's, which is the last and says so
    typer.echo(f"{planned.n} samples in {planned.count} shards of {planned.shard}: {folder}; {done.kept} were there")
