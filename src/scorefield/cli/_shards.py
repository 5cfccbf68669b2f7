"""Any number of results, in a folder of shards, alone or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from scorefield.cli._output import at_a_terminal, warn

if TYPE_CHECKING:
    from scorefield.runs import Trained
    from scorefield.storage.shards import Done, Plan

ONCE = "summary.json"


class Files(NamedTuple):
    """How a folder of shards is cut up."""

    kind: str = "npz"
    shard: int | None = None
    chunk: int | None = None


def asked(
    out: Path | None, json: str | None, overwrite: bool, kind: str | None, shard: int | None, chunk: int | None
) -> Files | None:
    """How, where `out` is a folder: a name without a suffix; None where it is not.

    Raises:
        ValueError: for options that are not for a folder, or for nothing else.
    """
    if out is not None and not out.suffix:
        if json is not None or overwrite:
            raise ValueError("--json and --overwrite are not for a folder of shards, whose manifest says what is there")
        return Files(kind or "npz", shard, chunk)
    if given := [name for name, value in {"--kind": kind, "--shard": shard, "--chunk": chunk}.items() if value]:
        raise ValueError(f"{given[0]} is for shards: --out must be a folder then")
    return None


def device_of(device: str | None) -> str | None:
    """The one asked for, else the GPU of this process where torchrun started several."""
    import torch

    place = os.environ.get("LOCAL_RANK")
    return f"cuda:{place}" if device is None and place is not None and torch.cuda.is_available() else device


def write(folder: Path, planned: Plan, make: Callable[[Callable[[], None]], Done], what: str, doing: str) -> bool:
    """Makes what is missing of this process's shards; whether all are there, which the last process says in a line.

    Args:
        make: does it, told what to call after each shard.
        what, doing: what they are called, in a line and beside a bar.

    Raises:
        ValueError: if some are missing in the end that nobody else makes.
    """
    from rich.progress import Progress

    first = os.environ.get("RANK", "0") == "0"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    with Progress(transient=True, disable=not (first and at_a_terminal())) as bar:
        task = bar.add_task(doing, total=-(-planned.count // world))
        done = make(lambda: bar.advance(task))
    if done.missing:
        if world == 1:
            raise ValueError(f"{folder}: {done.missing} shards are missing: something else writes there")
        return False  # another process's, which is the last and says so
    typer.echo(f"{planned.n} {what} in {planned.count} shards of {planned.shard}: {folder}; {done.kept} were there")
    return True


def summarise(folder: Path, planned: Plan, found: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Writes `summary.json` into a folder that is whole: what `found` makes of the arrays with one number a result.

    What webdataset reads has none: its shards are not read again.
    """
    if planned.kind != "npz":
        return
    import json

    from scorefield.storage import files, shards

    text = json.dumps(files.plain(dict(found(shards.numbers(folder)))), indent=2)
    files.replace(folder / ONCE, f"{text}\n".encode())
    typer.echo(f"{folder / ONCE}")


class Asked(NamedTuple):
    """Which samples."""

    n: int
    seed: int
    nfe: int | None
    solver: str | None
    label: tuple[str, ...]
    text: tuple[str, ...]


def samples(
    run: Path,
    folder: Path,
    which: Asked,
    cut: Files,
    adapt: Callable[[Trained], Trained],
    how: Mapping[str, Any],
    device: str | None,
) -> None:
    """Samples, and says what is there.

    Args:
        adapt: the run, guided and clipped as was asked, which `how` says in plain values.

    Raises:
        ValueError: as `runs.many.plan` and `runs.many.sample_shards`.
    """
    from scorefield.runs import load, many

    loaded = load(run, warn=warn)
    planned = many.plan(loaded, **which._asdict(), **cut._asdict(), **how)
    made = adapt(loaded).to(device_of(device))
    write(
        folder,
        planned,
        lambda advance: many.sample_shards(made, folder, planned, warn=warn, progress=advance),
        "samples",
        "sampling",
    )
