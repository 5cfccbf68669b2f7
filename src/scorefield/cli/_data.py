"""The table and the picture of `scorefield data show`."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from scorefield import data, plots

_SHOWN = 12  # classes or columns in the table


def show(name: str, source: data.Source, out: Path | None, n: int) -> None:
    """Prints what `source` holds; writes its first `n` pictures to `out`."""
    image = len(source.event_shape) == 3 and source.event_shape[0] in (1, 3) and source.levels is not None
    if out is not None and not image:
        raise ValueError(
            f"--out draws images (C, H, W) of 1 or 3 channels with levels; {name} has {source.event_shape}"
        )
    console = Console(highlight=False)
    console.print(name, soft_wrap=True)
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for row in _rows(source):
        table.add_row(*row)
    console.print(table)
    if columns := getattr(source, "columns", ()):
        console.print(_columns(source, columns))
    if out is not None:
        assert source.levels is not None
        shown = source.batch(torch.arange(min(n, len(source)))).x
        grid = plots.image_grid(shown.double() / (source.levels - 1), math.ceil(math.sqrt(len(shown))))
        plots.save(grid, out)
        console.print(f"{len(shown)} pictures: {out}", soft_wrap=True)


def _rows(source: data.Source) -> list[tuple[str, str]]:
    first = source.batch(torch.arange(1))
    moments = data.moments(source)
    rows = [
        ("count", f"{len(source):,}"),
        ("shape", " x ".join(map(str, source.event_shape)) or "one number"),
        ("type", str(first.x.dtype).removeprefix("torch.")),
        ("levels", "continuous" if source.levels is None else f"{source.levels:,}"),
        ("range", f"{float(moments.low):g} .. {float(moments.high):g}"),
        ("raw mean, std", f"{float(moments.mean):.6g}, {math.sqrt(float(moments.var)):.6g}"),
        _model_units(source),
    ]
    if source.num_classes is not None:
        rows.append((f"{source.num_classes} classes", _classes(source, source.num_classes)))
    rows += [(f"cond {k}", " x ".join(map(str, v.shape[1:]))) for k, v in first.cond.items() if k != "label"]
    return rows


def _model_units(source: data.Source) -> tuple[str, str]:
    if source.levels is None:
        return "model mean, std", "0, 1, standardised" + (" by column" if getattr(source, "columns", ()) else "")
    transform = data.Scale.to_unit_range(source)
    return "model mean, std", f"{transform.mean:.4f}, {transform.sigma_data:.4f}, in [-1, 1)"


def _classes(source: data.Source, classes: int) -> str:
    if isinstance(source, data.Arrays | data.ImageFolder):  # without decoding a picture
        labels = source.cond["label"]
    else:
        labels = torch.cat([source.batch(rows).cond["label"] for rows in torch.arange(len(source)).split(1024)])
    names = getattr(source, "class_names", ()) or [str(c) for c in range(classes)]
    counts = torch.bincount(labels, minlength=classes).tolist()
    shown = ", ".join(f"{name} {count:,}" for name, count in list(zip(names, counts, strict=True))[:_SHOWN])
    return shown + (f", and {classes - _SHOWN} more" if classes > _SHOWN else "")


def _columns(source: data.Source, columns: tuple[str, ...]) -> Table:
    m = data.moments(source, per_entry=True)
    table = Table("column", "mean", "std", "lowest", "highest", show_edge=False, pad_edge=False)
    numbers = torch.stack([m.mean, m.var.sqrt(), m.low, m.high], 1).tolist()
    for column, row in zip(columns, numbers, strict=True):
        table.add_row(column, *(f"{v:.5g}" for v in row))
    return table
