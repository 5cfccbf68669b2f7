"""What `scorefield likelihood` does: choose, score in chunks, tabulate, draw."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import stats
from torch import Tensor

from scorefield import data, plots, recipes
from scorefield.cli import _runs
from scorefield.data import Source, Transform, units
from scorefield.denoisers import NetworkDenoiser
from scorefield.likelihood import bits_per_dim, dequantized, elbo, log_prob
from scorefield.plots.style import MUTED, axes_of_curves

EXACT_UP_TO = 16  # dimensions, where nothing else is asked for
PROBES = 8
CHUNK = 64
SHOWN = 8  # most and least likely images


@dataclass(frozen=True)
class Job:
    """What is computed."""

    n: int
    probes: int | None
    tolerance: float
    draws: int
    elbo_draws: int
    seed: int


def run(folder: Path, named: str | None, job: Job, out: Path, *, device: str | None, data_dir: Path | None) -> None:
    """Everything, into `out` and the .npz and .json beside it."""
    loaded = _runs.load_run(folder)
    denoiser, transform = loaded.denoiser.to(_runs.device_of(device)), loaded.transform
    quantised = transform is not None and transform.levels is not None
    event = tuple(loaded.meta["event_shape"])
    d = math.prod(event)
    if transform is not None and quantised:
        data.bits_per_dim(torch.zeros(1), transform, d)  # refuses a model of bare integers
    elif job.draws > 1:
        raise ValueError("--draws is of dequantisation noise, and these data are continuous")
    source, what = _source(folder, named, data_dir)
    if tuple(source.event_shape) != event or source.levels != (transform.levels if transform else None):
        raise ValueError(
            f"{what} has events of shape {tuple(source.event_shape)} and levels {source.levels}; the run's data have "
            f"{event} and {transform.levels if transform else None}"
        )
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(job.seed))[: job.n]
    chosen = chosen.sort().values
    probes = (None if d <= EXACT_UP_TO else PROBES) if job.probes is None else job.probes or None
    console = Console(highlight=False)
    console.print(
        f"{len(chosen)} of {len(source):,} {what}, {'exact divergence' if probes is None else f'{probes} probes'}",
        soft_wrap=True,
    )
    scored = _score(denoiser, transform, source, chosen, probes, job)
    summary = _summary(scored, quantised, d, job, what, probes)
    console.print(_table(summary))
    figure = _draw(scored, source, chosen, transform, summary)
    plots.save(figure, out)
    _runs.save_npz(out.with_suffix(".npz"), rows=chosen, **scored)
    out.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"{out}, {out.with_suffix('.npz').name}, {out.with_suffix('.json').name}", soft_wrap=True)


def _source(folder: Path, named: str | None, data_dir: Path | None) -> tuple[Source, str]:
    recipe = folder / _runs.RECIPE
    if folder.is_dir() and recipe.is_file():
        spec = recipes.load(recipe).data
        if named is not None:
            spec = spec.model_copy(update={"source": named, "test": None})
    elif named is not None:
        spec = recipes.Data(source=named)
    else:
        raise ValueError(f"{folder} has no {_runs.RECIPE} to say which data: give --data")
    source, held_out = recipes.held_out(spec, data_dir=data_dir)
    return source, f"{'held-out data' if held_out else 'data'} of {spec.source}"


def _score(
    denoiser: NetworkDenoiser, transform: Transform | None, source: Source, chosen: Tensor, probes: int | None, job: Job
) -> dict[str, Tensor]:
    """Each `(N,)`: bits per dimension where the data are integers, else nats of log-density in the data's units."""
    device = next(denoiser.parameters()).device
    parts: list[dict[str, Tensor]] = []
    with Progress(transient=True, disable=not _runs.at_a_terminal()) as bar:
        task = bar.add_task("likelihood", total=len(chosen))
        for first in range(0, len(chosen), CHUNK):
            x, cond = source.batch(chosen[first : first + CHUNK])
            x, cond = x.to(device), {name: value.to(device) for name, value in _taken(denoiser, cond).items()}
            parts.append({k: v.cpu() for k, v in _part(denoiser, transform, x, cond, first, probes, job).items()})
            bar.advance(task, len(x))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _taken(denoiser: NetworkDenoiser, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
    takes = getattr(denoiser.net, "conditions", ())
    return {name: value for name, value in cond.items() if name in takes}


def _part(
    denoiser: NetworkDenoiser,
    transform: Transform | None,
    x: Tensor,
    cond: dict[str, Tensor],
    first: int,
    probes: int | None,
    job: Job,
) -> dict[str, Tensor]:
    common: dict[str, Any] = {"seed": job.seed, "first_index": first, "cond": cond}
    if transform is None or transform.levels is None:
        r = log_prob(denoiser, x.float(), transform=transform, probes=probes, tolerance=job.tolerance, **common)
        bound = elbo(denoiser, x.float(), transform=transform, draws=job.elbo_draws, **common)
        errors = {"probe": r.probe, "solver": r.solver, "truncation": r.truncation}
        return {
            "log_prob": r.log_prob,
            **errors,
            "elbo": bound.elbo,
            "elbo_stderr": bound.stderr,
            "evaluations": r.evaluations,
        }
    r = bits_per_dim(denoiser, x, transform, draws=job.draws, probes=probes, tolerance=job.tolerance, **common)
    index = torch.arange(first, first + len(x), device=x.device)
    bound = elbo(denoiser, dequantized(x, job.seed, index), transform=transform, draws=job.elbo_draws, **common)
    unit = math.prod(x.shape[1:]) * math.log(2)
    return {
        "bits_per_dim": r.bits,
        "probe": r.probe,
        "solver": r.solver,
        "truncation": r.truncation,
        **({} if r.importance_weighted is None else {"importance_weighted": r.importance_weighted}),
        "elbo": -bound.elbo / unit,
        "elbo_stderr": bound.stderr / unit,
        "evaluations": r.evaluations,
    }


def _summary(
    scored: dict[str, Tensor], quantised: bool, d: int, job: Job, what: str, probes: int | None
) -> dict[str, Any]:
    key, unit = ("bits_per_dim", 1) if quantised else ("log_prob", d)
    values = {name: v.double() / (1 if name == "evaluations" else unit) for name, v in scored.items()}
    n = len(values[key])

    def mean(v: Tensor) -> float:
        return float(v.mean())

    def spread(v: Tensor) -> float:
        return float(v.std()) / math.sqrt(n) if n > 1 else math.nan

    known = {name: mean(values[name]) for name in ("solver", "truncation")}
    stderr = math.sqrt(spread(values[key]) ** 2 + known["solver"] ** 2 + known["truncation"] ** 2)
    half = float(stats.t.ppf(0.975, max(n - 1, 1))) * stderr
    centre = mean(values[key])
    summary = {
        "unit": "bits per dimension" if quantised else "nats per dimension",
        "mean": centre,
        "low": centre - half,
        "high": centre + half,
        "spread": spread(values[key]),
        "probe": float(values["probe"].square().mean().sqrt()) / math.sqrt(n),
        **known,
        "elbo": mean(values["elbo"]),
        "elbo_stderr": spread(values["elbo"]),
        "evaluations": mean(values["evaluations"]),
        "evaluations_most": int(values["evaluations"].max()),
        "n": n,
        "data": what,
        "probes": probes or 0,
        **{k: v for k, v in asdict(job).items() if k not in ("n", "probes")},
    }
    if "importance_weighted" in values:
        summary["importance_weighted"] = mean(values["importance_weighted"])
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in summary.items()}


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
    table.add_row("error: ends", _number(s["truncation"]), "noise below s_min and above s_max")
    side = "an upper bound on the reverse SDE's" if bits else "a lower bound on the reverse SDE's"
    table.add_row("ELBO", f"{_number(s['elbo'])} ± {_number(s['elbo_stderr'])}", side)
    table.add_row("evaluations", f"{s['evaluations']:.0f}", f"at most {s['evaluations_most']}, each with its products")
    return table


def _draw(
    scored: dict[str, Tensor], source: Source, chosen: Tensor, transform: Transform | None, s: dict[str, Any]
) -> Figure:
    bits = "bits_per_dim" in scored
    values = scored["bits_per_dim"] if bits else scored["log_prob"] / math.prod(source.event_shape)
    image = len(source.event_shape) == 3 and source.event_shape[0] in (1, 3) and bits
    fig = plots.figure(7, 5.2 if image else 3.4)
    axes = fig.subplots(3, 1, height_ratios=[3, 1, 1]) if image else [fig.add_subplot()]
    axes[0].hist(np.asarray(values), bins=min(40, max(5, len(values) // 8)), color=plots.COLORS["data"], alpha=0.75)
    axes[0].axvline(s["mean"], color=plots.COLORS["second"], linewidth=1.6, label=f"mean {_number(s['mean'])}")
    axes[0].legend(frameon=False, fontsize=9)
    axes_of_curves(axes[0], x=s["unit"], y="count")
    if image:
        order = values.argsort()  # fewest bits first
        ends = {"most likely": order[:SHOWN], "least likely": order.flip(0)[:SHOWN]}
        for ax, (title, rows) in zip(axes[1:], ends.items(), strict=True):
            shown = units.unit(source.batch(chosen[rows]).x, transform)
            pixels = np.pad(plots.to_pixels(shown), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
            ax.imshow(np.concatenate(list(pixels), 1))
            plots.clean(ax)
            width = pixels.shape[2]
            centres = [width * (i + 0.5) - 1 for i in range(len(rows))]
            ax.set_xticks(centres, [f"{v:.2f}" for v in values[rows].tolist()], fontsize=8, color=MUTED)
            ax.tick_params(length=0)
            ax.set_title(f"{title}, and their {s['unit']}", fontsize=10)
    return fig
