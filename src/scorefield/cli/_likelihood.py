"""What `scorefield likelihood` does: choose, score, tabulate, draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from scorefield import data
from scorefield.cli import _inputs, _results, _shards
from scorefield.cli._options import Reading
from scorefield.cli._output import Results, at_a_terminal, warn
from scorefield.data import Source, Transform, units
from scorefield.likelihood import Effort, default_probes, over_data, per_datum
from scorefield.plots.likelihood import likelihoods
from scorefield.plots.shown import Look, rows_of
from scorefield.runs import Trained, each, load, many

SHOWN = 8  # most and least likely images


class Asked(NamedTuple):
    """Whose likelihood, and how."""

    run: Path
    data: str | None
    reading: Reading
    n: int | None
    probes: int | None  # 0 is the exact divergence
    effort: Effort
    device: str | None
    data_dir: Path | None


class _Found(NamedTuple):
    trained: Trained
    source: Source
    what: str
    chosen: Tensor
    effort: Effort


def _found(asked: Asked, n: int | None, device: str | None) -> _Found:
    """n of the data, all of them for None."""
    trained, effort = load(asked.run, warn=warn).to(device), asked.effort
    transform, d = trained.transform, math.prod(trained.event_shape)
    _ = trained.denoiser
    if transform is not None and transform.levels is not None:
        data.bits_per_dim(torch.zeros(1), transform, d)  # refuses a model of bare integers
    elif effort.draws > 1:
        raise ValueError("--draws is of dequantisation noise, and these data are continuous")
    source, what = _inputs.held_out(trained, asked.data, asked.data_dir, "which data: give --data", asked.reading)
    if n is None or n >= len(source):
        chosen = torch.arange(len(source))
    else:
        chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(effort.seed))[:n].sort().values
    probes = default_probes(d) if asked.probes is None else asked.probes or None
    return _Found(trained, source, what, chosen, replace(effort, probes=probes))


def in_shards(asked: Asked, folder: Path, cut: _shards.Files) -> None:
    """Of all the data, or of n, into a folder of shards, and what they say together once all are there."""
    found = _found(asked, asked.n, _shards.device_of(asked.device))
    given = (found.trained, found.source, found.chosen, found.effort)
    planned = each.likelihood_plan(*given, **cut._asdict())
    make, d = each.likelihoods(*given), math.prod(found.trained.event_shape)
    if not _shards.write(
        folder,
        planned,
        lambda advance: many.write(folder, planned, make, warn=warn, progress=advance),
        f"likelihoods of {found.what}",
        "likelihood",
    ):
        return

    def together(numbers: Mapping[str, Any]) -> dict[str, Any]:
        scored = {name: torch.from_numpy(value) for name, value in numbers.items()}
        summary = {**planned.what, **over_data(scored, d), "data": found.what, "probes": found.effort.probes or 0}
        Console(highlight=False).print(_table(summary))
        return summary

    _shards.summarise(folder, planned, together)


def run(asked: Asked, out: Results) -> None:
    """Everything, into `out` and the .npz and .json beside it."""
    trained, source, what, chosen, effort = _found(asked, 256 if asked.n is None else asked.n, asked.device)
    denoiser, transform, d = trained.denoiser, trained.transform, math.prod(trained.event_shape)
    how = "exact divergence" if effort.probes is None else f"{effort.probes} probes"
    out.claim()
    console = Console(highlight=False, quiet=out.quiet)
    console.print(f"{len(chosen)} of {len(source):,} {what}, {how}", soft_wrap=True)
    with Progress(transient=True, disable=not at_a_terminal() or out.quiet) as bar:
        task = bar.add_task("likelihood", total=len(chosen))
        scored = per_datum(
            denoiser, source, chosen, effort, transform=transform, on_chunk=lambda done: bar.advance(task, done)
        )
    summary = {**over_data(scored, d), "data": what, **asdict(effort), "probes": effort.probes or 0}
    figure = _draw(scored, source, chosen, transform, summary, trained.look)
    _results.write(out, _table(summary), figure, {"rows": chosen, **scored}, summary)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}" if value and abs(value) < 1e-3 else f"{value:.4f}"


def _table(s: dict[str, Any]) -> Table:
    bits = s["unit"].startswith("bits")
    table = Table(show_edge=True)
    table.add_column("measured")
    table.add_column("value", justify="right", style="bold", no_wrap=True)
    table.add_column("beside it", style="dim")
    one = "one probe tells nothing of its own error" if s["probe"] is None else "its share in the spread"
    table.add_row(s["unit"], _number(s["mean"]), f"95%: {_number(s['low'])} to {_number(s['high'])}")
    if "importance_weighted" in s:
        table.add_row("importance-weighted", _number(s["importance_weighted"]), f"{s['draws']} draws, a tighter bound")
    table.add_row("error: which data were drawn", _number(s["spread"]), f"{s['n']}, noise of probes and draws included")
    table.add_row("error: probes", _number(s["probe"]), one)
    table.add_row("error: solver", _number(s["solver"]), "a bound, as far as an estimate can be one")
    table.add_row("error: ends", _number(s["truncation"]), "noise below and above what the network is asked at")
    side = "an upper bound on the reverse SDE's" if bits else "a lower bound on the reverse SDE's"
    if s["elbo"] is None:
        table.add_row("ELBO", "none", "a flow has no reverse SDE to bound")
    else:
        table.add_row("ELBO", f"{_number(s['elbo'])} ± {_number(s['elbo_stderr'])}", side)
    table.add_row("evaluations", f"{s['evaluations']:.0f}", f"at most {s['evaluations_most']}, each with its products")
    return table


def _draw(
    scored: dict[str, Tensor],
    source: Source,
    chosen: Tensor,
    transform: Transform | None,
    s: dict[str, Any],
    look: Look,
) -> Figure:
    bits = "bits_per_dim" in scored
    values = scored["bits_per_dim"] if bits else scored["log_prob"] / math.prod(source.event_shape)
    ends, names = {}, {}
    if bits and len(source.event_shape) == 3 and source.event_shape[0] in (1, 3):
        order = values.argsort()  # fewest bits first
        for title, rows in {"most likely": order[:SHOWN], "least likely": order.flip(0)[:SHOWN]}.items():
            x, cond = source.batch(chosen[rows])
            ends[title] = units.unit(x, transform), values[rows]
            names[title] = rows_of(chosen[rows].tolist(), cond["label"].tolist() if "label" in cond else None, look)
    return likelihoods(values, _number(s["mean"]), unit=s["unit"], ends=ends, names=_below(names))


def _below(names: dict[str, list[str]]) -> dict[str, list[str]]:
    """In two lines, for pictures that are small."""
    return {title: [name.replace(" (", "\n(") for name in row] for title, row in names.items()}
