"""What `scorefield anomaly` does: choose, measure, compare with the reference, tabulate, draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from scorefield import metrics, plots, recipes
from scorefield.anomaly import Detector, NegativeElbo, Statistic, benjamini_hochberg, measured
from scorefield.anomaly.detector import REFERENCE_FIRST
from scorefield.cli import _runs
from scorefield.cli._names import STATISTICS, resolve
from scorefield.data import Source, Transform, units
from scorefield.denoisers import NetworkDenoiser
from scorefield.plots.style import axes_of_curves
from scorefield.storage import checkpoints

DETECTORS = "detectors"
OF_LIKELIHOOD = ("likelihood", "typicality", "complexity")
SHOWN = 12  # most and least anomalous images
LISTED = 10  # most anomalous rows


@dataclass(frozen=True)
class Job:
    """What is computed."""

    data: str
    reference: str | None
    statistics: tuple[str, ...]
    n: int
    fdr: float
    elbo: bool
    seed: int


class Judged(NamedTuple):
    """Some data under one statistic."""

    detector: Detector
    scores: Tensor  # (N,)
    p: Tensor  # (N,)
    adjusted: Tensor  # (N,), Benjamini and Hochberg's


def run(folder: Path, job: Job, out: Path, *, device: str | None, data_dir: Path | None) -> None:
    """Everything, into `out` and the .npz and .json beside it."""
    loaded = _runs.load_run(folder)
    denoiser, transform = loaded.denoiser.to(_runs.device_of(device)), loaded.transform
    event = tuple(loaded.meta["event_shape"])
    console = Console(highlight=False)
    source, of = _source(folder, job.data, data_dir)
    usual, of_usual = _source(folder, job.reference, data_dir)
    for what, s in ((of, source), (of_usual, usual)):
        if tuple(s.event_shape) != event or s.levels != (transform.levels if transform else None):
            raise ValueError(
                f"{what} has events of shape {tuple(s.event_shape)} and levels {s.levels}; the run's data have "
                f"{event} and {transform.levels if transform else None}"
            )
    if _never_without_a_label(folder, denoiser):
        console.print("note: this model never saw data without a label, which it is asked about here", soft_wrap=True)
    of_reference = _chosen(usual, job, skip=0)
    # the same data on both sides: other rows, so that nothing is compared with itself
    rows = _chosen(source, job, skip=len(of_reference) if of == of_usual else 0)
    console.print(
        f"{len(rows)} of {len(source):,} {of}, against {len(of_reference)} of {len(usual):,} {of_usual}", soft_wrap=True
    )
    statistics = _statistics(job, transform, event)

    def measure(wanted: Mapping[str, Statistic], s: Source, chosen: Tensor, first: int) -> dict[str, Tensor]:
        x = s.batch(chosen).x.to(next(denoiser.parameters()).device)
        options = {"transform": transform, "seed": job.seed, "first_index": first, "progress": _runs.at_a_terminal()}
        return dict(zip(wanted, measured(wanted.values(), denoiser, x, **options), strict=True))

    meta = {
        "checkpoint": _checkpoint(folder),
        "reference": of_usual,
        "n": len(of_reference),
        "seed": job.seed,
        "elbo": job.elbo,
    }
    detectors = _kept(folder, statistics, meta)
    if detectors:
        console.print(f"the reference of {', '.join(detectors)} is the one in {folder / DETECTORS}", soft_wrap=True)
    missing = {name: s for name, s in statistics.items() if name not in detectors}
    for name, features in measure(missing, usual, of_reference, REFERENCE_FIRST).items():
        detectors[name] = Detector.from_features(statistics[name], features, meta=meta)
        if folder.is_dir():
            (folder / DETECTORS).mkdir(exist_ok=True)
            detectors[name].save(folder / DETECTORS / f"{name}.json")
    features = measure(statistics, source, rows, 0)
    judged = {name: _judge(detectors[name], features[name]) for name in statistics}
    summary = _summary(judged, rows, job, of, of_usual)
    console.print(_table(summary))
    console.print(_ranking(judged, rows, job))
    plots.save(_draw(judged, source, rows, transform, summary), out)
    arrays = {
        f"{name}_{key}": value
        for name, j in judged.items()
        for key, value in (
            ("score", j.scores),
            ("p", j.p),
            ("adjusted", j.adjusted),
            ("reference", j.detector.reference),
        )
    }
    _runs.save_npz(out.with_suffix(".npz"), rows=rows, **{k.replace("-", "_"): v for k, v in arrays.items()})
    out.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"{out}, {out.with_suffix('.npz').name}, {out.with_suffix('.json').name}", soft_wrap=True)


def _source(folder: Path, named: str | None, data_dir: Path | None) -> tuple[Source, str]:
    recipe = folder / _runs.RECIPE
    if folder.is_dir() and recipe.is_file():
        spec = recipes.load(recipe).data
        if named is not None and named != spec.source:
            spec = spec.model_copy(update={"source": named, "test": None})
    elif named is not None:
        spec = recipes.Data(source=named)
    else:
        raise ValueError(f"{folder} has no {_runs.RECIPE} to say which data are normal: give --reference")
    source, held_out = recipes.held_out(spec, data_dir=data_dir)
    return source, f"{'held-out data' if held_out else 'data'} of {spec.source}"


def _never_without_a_label(folder: Path, denoiser: NetworkDenoiser) -> bool:
    recipe = folder / _runs.RECIPE
    if not (folder.is_dir() and recipe.is_file()):
        return False
    spec = recipes.load(recipe)
    return (
        spec.data.conditional and spec.training.condition_dropout == 0 and spec.name in ("digits", "mnist", "fashion")
    )


def _chosen(source: Source, job: Job, skip: int) -> Tensor:
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(job.seed))
    chosen = order[skip : skip + job.n]
    if not len(chosen):
        raise ValueError(f"--n {job.n} takes all {len(source)} for the reference and leaves none to judge; lower it")
    return chosen  # in random order: the first half of the reference fits, the second calibrates


def _statistics(job: Job, transform: Transform | None, event: tuple[int, ...]) -> dict[str, Statistic]:
    names = list(job.statistics) or [name for name in STATISTICS if _applies(name, transform, event)]
    of = {"of": NegativeElbo()} if job.elbo else {}
    return {name: resolve("statistic", name, STATISTICS, **(of if name in OF_LIKELIHOOD else {})) for name in names}


def _applies(name: str, transform: Transform | None, event: tuple[int, ...]) -> bool:
    levels = None if transform is None else transform.levels
    image = levels is not None and levels <= 256 and len(event) == 3 and event[0] in (1, 3)
    has_density = levels is None or getattr(transform, "noise", True)
    return {"complexity": image and has_density, **dict.fromkeys(("likelihood", "typicality"), has_density)}.get(
        name, True
    )


def _checkpoint(folder: Path) -> str:
    newest = checkpoints.latest(folder / "checkpoints", lambda line: None) if folder.is_dir() else None
    return folder.name if newest is None else newest.name


def _kept(folder: Path, statistics: Mapping[str, Statistic], meta: Mapping[str, Any]) -> dict[str, Detector]:
    """The detectors in the run that were made of this checkpoint, and reference."""
    kept = {}
    for name, statistic in statistics.items():
        path = folder / DETECTORS / f"{name}.json"
        if folder.is_dir() and path.is_file():
            detector = Detector.load(path)
            if detector.meta == meta and detector.statistic.measurement == statistic.measurement:
                kept[name] = detector
    return kept


def _judge(detector: Detector, features: Tensor) -> Judged:
    scores = detector.statistic.law.score(features)
    p = detector.p_value_of(scores)
    return Judged(detector, scores, p, benjamini_hochberg(p))


def _summary(judged: Mapping[str, Judged], rows: Tensor, job: Job, of: str, of_usual: str) -> dict[str, Any]:
    statistics = {}
    for name, j in judged.items():
        pair = (j.detector.reference.numpy(), j.scores.numpy())
        estimates = {"auroc": metrics.auroc(*pair), "average_precision": metrics.average_precision(*pair),
                     "fpr_at_95": metrics.fpr_at(*pair)}  # fmt: skip
        statistics[name] = {
            **{key: e._asdict() for key, e in estimates.items()},
            "flagged": int((j.adjusted <= job.fdr).sum()),
            "median_p": float(j.p.median()),
            "calibrated_on": len(j.detector.reference),
        }
    return {
        "data": of,
        "reference": of_usual,
        "judged": len(rows),
        "fdr": job.fdr,
        "statistics": statistics,
        **{k: v for k, v in asdict(job).items() if k in ("n", "seed", "elbo")},
    }


def _interval(e: Mapping[str, float]) -> str:
    return f"{e['value']:.3f} ({e['low']:.3f}-{e['high']:.3f})"


def _table(s: Mapping[str, Any]) -> Table:
    table = Table(show_edge=True, caption="set against set, as if all that is judged were anomalous; intervals 95%")
    table.add_column("statistic", no_wrap=True)
    table.add_column("flagged", justify="right", style="bold", no_wrap=True)
    for name in ("AUROC", "FPR at TPR 95%"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, values in s["statistics"].items():
        flagged = f"{values['flagged']} of {s['judged']}"
        table.add_row(name, flagged, *(_interval(values[key]) for key in ("auroc", "fpr_at_95")))
    return table


def _ranking(judged: Mapping[str, Judged], rows: Tensor, job: Job) -> Table:
    name, first = next(iter(judged.items()))
    table = Table(
        show_edge=True,
        title=f"most anomalous by {name}",
        caption=f"adjusted p (Benjamini-Hochberg) at most {job.fdr:g}: flagged",
    )
    for column in ("row", "score", "p", "adjusted p"):
        table.add_column(column, justify="right")
    for i in first.scores.argsort(descending=True, stable=True)[:LISTED].tolist():
        score, p, adjusted = (float(v[i]) for v in first[1:])
        table.add_row(str(int(rows[i])), f"{score:.3f}", f"{p:.4f}", f"{adjusted:.4f}")
    return table


def _draw(
    judged: Mapping[str, Judged], source: Source, rows: Tensor, transform: Transform | None, s: Mapping[str, Any]
) -> Figure:
    image = transform is not None and transform.levels is not None and len(source.event_shape) == 3
    image = image and source.event_shape[0] in (1, 3)
    fig = plots.figure(9.5, 5.6 if image else 4.0)
    layout = fig.add_gridspec(3 if image else 1, 2, height_ratios=[3, 0.8, 0.8] if image else [1])
    left, right = (fig.add_subplot(layout[0, i]) for i in range(2))
    for (name, j), color in zip(judged.items(), plots.curves_colors(len(judged)), strict=True):
        curve = metrics.roc_curve(j.detector.reference.numpy(), j.scores.numpy())
        area = s["statistics"][name]["auroc"]["value"]
        left.plot(curve.fpr, curve.tpr, color=color, linewidth=1.6, label=f"{name} {area:.3f}")
        p = np.sort(j.p.numpy())
        right.step(p, np.arange(1, len(p) + 1) / len(p), where="post", color=color, linewidth=1.6, label=name)
    for ax in (left, right):
        ax.plot([0, 1], [0, 1], color=plots.COLORS["truth"], linewidth=1, linestyle="--")
    axes_of_curves(left, x="reference called anomalous", y="judged data called anomalous", title="ROC (area)")
    axes_of_curves(right, x="p-value", y="share of judged data below", title="p-values; diagonal: nothing anomalous")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    if image:
        name, first = next(iter(judged.items()))
        order = first.scores.argsort(descending=True, stable=True)
        for i, (title, at) in enumerate({"most": order[:SHOWN], "least": order.flip(0)[:SHOWN]}.items()):
            ax = fig.add_subplot(layout[1 + i, :])
            pixels = plots.to_pixels(units.unit(source.batch(rows[at]).x, transform))
            ax.imshow(np.concatenate(list(np.pad(pixels, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)), 1))
            plots.clean(ax)
            ax.set_title(f"{title} anomalous by {name}", fontsize=10)
    return fig
