"""The table and the picture of `scorefield data show`."""

from __future__ import annotations

import json
import math

import torch
from rich.console import Console
from rich.table import Table

from scorefield import data, plots
from scorefield.cli._output import Results

_SHOWN = 12  # classes or columns in the table


def show(name: str, source: data.Source, out: Results | None, n: int, *, quiet: bool = False) -> None:
    """Prints what `source` holds; writes its first `n` pictures to `out`."""
    image = len(source.event_shape) == 3 and source.event_shape[0] in (1, 3) and source.levels is not None
    if out is not None and not image:
        raise ValueError(
            f"--out draws images (C, H, W) of 1 or 3 channels with levels; {name} has {source.event_shape}"
        )
    if out is not None:
        out.claim()
    console = Console(highlight=False, quiet=quiet)
    console.print(name, soft_wrap=True)
    for line in getattr(source, "said", ()):
        console.print(line, soft_wrap=True, markup=False)
    found = data.summarize(source)
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for row in _rows(source, found):
        table.add_row(*row)
    console.print(table)
    if found.columns:
        console.print(_columns(found))
    if out is not None:
        assert source.levels is not None
        shown = source.batch(torch.arange(min(n, len(source)))).x
        grid = plots.image_grid(shown.double() / (source.levels - 1), math.isqrt(len(shown) - 1) + 1)
        plots.save(grid, out.picture)
        console.print(f"{len(shown)} pictures: {out.picture}", soft_wrap=True)
    if quiet:
        numbers = {
            "data": name, "count": found.count, "shape": list(source.event_shape), "levels": source.levels,
            "low": found.low, "high": found.high, "mean": found.mean, "std": found.std, "classes": dict(found.classes),
            "columns": dict(found.columns), "read_as": list(getattr(source, "said", ())),
        }  # fmt: skip
        print(json.dumps(numbers, indent=2))


def _rows(source: data.Source, s: data.Summary) -> list[tuple[str, str]]:
    rows = [
        ("count", f"{s.count:,}"),
        ("shape", " x ".join(map(str, source.event_shape)) or "one number"),
        ("type", str(s.dtype).removeprefix("torch.")),
        ("levels", "continuous" if source.levels is None else f"{source.levels:,}"),
        ("range", f"{s.low:g} .. {s.high:g}"),
        ("raw mean, std", f"{s.mean:.6g}, {s.std:.6g}"),
        ("model mean, std", _model_units(source, s)),
    ]
    if s.classes:
        rows.append((f"{len(s.classes)} classes", _classes(s.classes)))
    rows += [(f"cond {name}", " x ".join(map(str, shape))) for name, shape in s.conditions.items()]
    return rows


def _model_units(source: data.Source, s: data.Summary) -> str:
    if source.levels is None:
        return "0, 1, standardised" + (" by column" if s.columns else "")
    mean, std = s.in_model
    return f"{mean:.4f}, {std:.4f}, in [-1, 1)"


def _classes(classes: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in classes[:_SHOWN])
    return shown + (f", and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else "")


def _columns(s: data.Summary) -> Table:
    table = Table("column", "mean", "std", "lowest", "highest", show_edge=False, pad_edge=False)
    for column, row in s.columns:
        table.add_row(column, *(f"{v:.5g}" for v in row))
    return table
