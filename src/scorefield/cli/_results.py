"""A command's results: a table to read, a picture, arrays and a summary to compute with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from scorefield import plots
from scorefield.cli._output import Results
from scorefield.storage import files


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """The first column names, the others are numbers, the last one explains."""
    *names, last = head
    made = Table(show_edge=True)
    for i, name in enumerate(names):
        made.add_column(name, justify="right" if i else "left", style="bold" if i else None, no_wrap=bool(i))
    made.add_column(last, style="dim")
    for row in rows:
        made.add_row(*row)
    return made


def number(value: float) -> str:
    """Four digits after the point, or two that say something."""
    return f"{value:.2g}" if value and abs(value) < 1e-3 else f"{value:.4f}"


def save_npz(path: Path, **arrays: Any) -> Path:
    """Writes arrays of numbers; nothing in the file is a pickle."""
    files.replace(path, files.npz(**arrays))
    return path


def write(
    out: Results,
    shown: Table | Sequence[Table],
    figure: Figure | None,
    arrays: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> None:
    """Prints the tables, or the .json alone, and writes the picture, where there is one, the .npz and the .json."""
    console = Console(highlight=False, quiet=out.quiet)
    for made in (shown,) if isinstance(shown, Table) else shown:
        console.print(made)
    written = [out.file(".npz").name, out.summary.name]
    if figure is not None:
        plots.save(figure, out.picture)
        written.insert(0, out.picture.name)
    save_npz(out.file(".npz"), **arrays)
    write_summary(out, summary)
    console.print(f"{out.picture.parent / written[0]}, {', '.join(written[1:])}", soft_wrap=True)


def write_summary(out: Results, summary: Mapping[str, Any]) -> None:
    """The .json, and on the standard output where that is asked for. JSON has no NaN: what is not finite is null."""
    text = json.dumps(files.plain(dict(summary)), indent=2)
    files.replace(out.summary, f"{text}\n".encode())
    if out.quiet:
        print(text)
