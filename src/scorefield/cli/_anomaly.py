"""What `scorefield anomaly` does: choose, measure, compare with the reference, tabulate, draw."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from scorefield.anomaly import Detector, Judged, NegativeElbo, Statistic, applicable, compare, judge, measured
from scorefield.anomaly.detector import REFERENCE_FIRST
from scorefield.anomaly.summary import OF_LIKELIHOOD
from scorefield.catalogue import SHAPES, SOURCES, STATISTICS, make
from scorefield.cli import _results
from scorefield.cli._options import Reading
from scorefield.cli._output import Results, at_a_terminal, note, warn
from scorefield.data import Source, Transform, units
from scorefield.plots.detection import Scored, detection
from scorefield.plots.shown import Look, of, rows_of
from scorefield.runs import RECIPE, HeldOut, Trained, load
from scorefield.storage import files

DETECTORS = "detectors"
SHOWN = 12  # most and least anomalous images
FEWEST = 48  # data on both sides: a law is fitted to a quarter of them
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
    reading: Reading  # of the data


def run(folder: Path, job: Job, out: Results, *, device: str | None, data_dir: Path | None) -> None:
    """Everything, into `out` and the .npz and .json beside it."""
    trained = load(folder, warn=warn).to(device)
    denoiser, transform = trained.denoiser, trained.transform
    console = Console(highlight=False, quiet=out.quiet)
    source, of = judging = _source(trained, job.data, data_dir, job.reading.policy)
    usual, of_usual = reference = _source(trained, job.reference, data_dir, {})
    for line in dict.fromkeys((*judging.notes, *reference.notes)):
        note(line)
    if trained.num_classes is not None and not trained.knows_null:
        console.print("note: this model never saw data without a label, which it is asked about here", soft_wrap=True)
    # the same data on both sides: other rows, so that nothing is compared with itself
    same = of == of_usual
    if same and len(usual) < FEWEST:
        raise ValueError(
            f"the {len(usual)} {of} are too few to be the reference and what is judged: "
            "give other --data, or --reference"
        )
    of_reference = _chosen(usual, job.n if job.n < len(usual) or not same else len(usual) // 2, job.seed)
    rows = _chosen(source, job.n, job.seed, skip=len(of_reference) if same else 0)
    statistics = _statistics(job, trained)
    out.claim()
    console.print(
        f"{len(rows)} of {len(source):,} {of}, against {len(of_reference)} of {len(usual):,} {of_usual}", soft_wrap=True
    )

    def measure(wanted: Mapping[str, Statistic], s: Source, chosen: Tensor, first: int) -> dict[str, Tensor]:
        x = s.batch(chosen).x.to(trained.device)
        options = {
            "transform": transform,
            "seed": job.seed,
            "first_index": first,
            "progress": at_a_terminal() and not out.quiet,
        }
        return dict(zip(wanted, measured(wanted.values(), denoiser, x, **options), strict=True))

    meta = {
        "checkpoint": trained.checkpoint,
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
            detectors[name].save(files.subfolder(folder / DETECTORS) / f"{name}.json")
    features = measure(statistics, source, rows, 0)
    judged = {name: judge(detectors[name], features[name]) for name in statistics}
    summary = {
        "data": of,
        "reference": of_usual,
        "judged": len(rows),
        "fdr": job.fdr,
        "statistics": compare(judged, job.fdr),
        **{k: v for k, v in asdict(job).items() if k in ("n", "seed", "elbo")},
    }
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
    named = {"rows": rows, **{k.replace("-", "_"): v for k, v in arrays.items()}}
    figure = _draw(judged, source, rows, transform, summary, trained.look)
    _results.write(out, (_table(summary), _ranking(judged, rows, job)), figure, named, summary)


def _source(trained: Trained, named: str | None, data_dir: Path | None, policy: Mapping[str, Any]) -> HeldOut:
    recipe = trained.recipe
    own = recipe is not None and named is not None and _same(named, recipe.data.source)
    if recipe is None and named is None:
        raise ValueError(f"{trained.name} has no {RECIPE} to say which data are normal: give --reference")
    found = trained.held_out(None if own else named, policy=policy, data_dir=data_dir)
    if own and found.apart and recipe is not None and recipe.data.source not in (*SOURCES, *SHAPES):
        line = (
            f"{named} is what this run was trained on: what is used are the {len(found.source):,} rows held out of it"
        )
        return replace(found, notes=(line,))
    return found


def _same(named: str, source: str) -> bool:
    return named == source or (Path(named).exists() and os.path.abspath(named) == os.path.abspath(source))


def _chosen(source: Source, n: int, seed: int, skip: int = 0) -> Tensor:
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    chosen = order[skip : skip + n]
    if not len(chosen):
        raise ValueError(f"{len(source)} are too few: there must be one for the reference and one to judge")
    return chosen  # in random order: the first half of the reference fits, the second calibrates


def _statistics(job: Job, trained: Trained) -> dict[str, Statistic]:
    names = job.statistics or applicable(STATISTICS, trained.transform, trained.event_shape)
    of = {"of": NegativeElbo()} if job.elbo else {}
    return {name: make("statistic", name, STATISTICS, **(of if name in OF_LIKELIHOOD else {})) for name in names}


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
    for i in first.ranking[:LISTED].tolist():
        score, p, adjusted = (float(v[i]) for v in first[1:])
        table.add_row(str(int(rows[i])), f"{score:.3f}", f"{p:.4f}", f"{adjusted:.4f}")
    return table


def _draw(
    judged: Mapping[str, Judged],
    source: Source,
    rows: Tensor,
    transform: Transform | None,
    s: Mapping[str, Any],
    look: Look,
) -> Figure:
    scored = {
        name: Scored(j.detector.reference, j.scores, j.p, s["statistics"][name]["auroc"]["value"])
        for name, j in judged.items()
    }
    name, first = next(iter(judged.items()))
    ends, names = {}, {}
    event = tuple(source.event_shape)
    if transform is not None and transform.levels is not None and len(event) == 3 and event[0] in (1, 3):
        order = first.ranking
        for title, at in {"most": order[:SHOWN], "least": order.flip(0)[:SHOWN]}.items():
            of_end = f"{title} anomalous by {name}: {of(len(at), len(rows), 'judged data')}"
            x, cond = source.batch(rows[at])
            ends[of_end] = units.unit(x, transform)
            called = rows_of(rows[at].tolist(), cond["label"].tolist() if "label" in cond else None, look)
            names[of_end] = [n.replace(" (", "\n(") for n in called]
    return detection(scored, ends, names)
