"""Where a run stands, in seconds: samples beside data, errors by noise level, a distance with its floor, and copies."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import metrics, plots, recipes
from scorefield.baselines import Generative
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.diagnostics.measured import Points, predictions
from scorefield.evaluation import COMPONENTS
from scorefield.plots import kinds
from scorefield.plots.page import Row
from scorefield.plots.shown import Shown
from scorefield.randomness import as_seed
from scorefield.runs.beside import Some, comparable, some
from scorefield.runs.drawing import Drawn

FEW, MANY = 128, 1000  # samples, and data beside them: of pictures and series, of vectors
LARGE, FEWER = 4096, 64  # numbers in a datum above which there are fewer: a report is a matter of seconds
LEVELS = (0.02, 20.0, 13)  # noise ratios over the data's spread: from, to, how many
FEWEST = 20  # of samples and of data that are compared
SEARCHED = 50_000_000  # numbers of training data in which the nearest are looked for


class Standing(NamedTuple):
    """What a report says of a run besides its training."""

    rows: list[Row]
    shown: list[Shown]
    numbers: dict[str, Any]


def standing(run: Any, *, n: int | None = None, seed: int = 0, data_dir: Path | None = None) -> Standing:
    """Samples of a run with its data, and what they say.

    Args:
        run: a `Trained` that draws.
        n: samples, and at most as many data.
    """
    size = int(np.prod(run.event_shape))
    n = n or (MANY if len(run.event_shape) == 1 else FEW if size <= LARGE else FEWER)
    try:
        source, what = found = run.held_out(data_dir=data_dir)
        train = recipes.training_data(run.recipe.data, data_dir=data_dir)
    except (ValueError, FileNotFoundError) as error:  # data that stayed elsewhere
        return Standing([Row("data", "not found", f"no samples are shown beside them: {error}")], [], {})
    apart = found.apart
    real = some(run, source, n, seed)
    turn = torch.arange(n, device="cpu") % len(real.x)
    asked = {name: value[turn] for name, value in real.told(run).items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = run.sample(n, cond=asked, seed=seed)
    whole = kinds.finite(drawn.raw) & kinds.finite(drawn.x)
    beside = f"{what if apart else 'training data (nothing is held out)'}"
    numbers: dict[str, Any] = {
        "n": n,
        "data": what,
        "n_data": len(real.x),
        "nfe": drawn.nfe,
        "finite": int(whole.sum()),
    }
    rows = [Row("samples", f"{n:,}", f"{drawn.nfe} evaluations each, beside {len(real.x):,} of the {beside}")]
    rows += [Row("note", "", str(warning.message)) for warning in caught]
    shown: list[Shown] = []
    if not bool(whole.all()):
        rows.append(
            Row("samples that are no numbers", f"{n - int(whole.sum())} of {n}", "left out of all that follows")
        )
    if bool(whole.any()):
        label = asked["label"][whole] if "label" in asked else None
        shown += kinds.beside(
            drawn.raw[whole], real.raw, run.look, beside, asked=label, labels=real.label if label is not None else None
        )
    of_train = _searched(run, train, seed)
    made = run.to_model(drawn.raw, torch.arange(n, device="cpu"), seed=seed + 1).cpu()[whole]
    if min(len(made), len(real.x)) >= FEWEST:
        for row, more in _distances(made, real, of_train if apart else None, what, seed):
            rows.append(row)
            numbers |= more
    if len(made):
        shown.append(_nearest(run, drawn, whole, made, real if apart else None, of_train, len(train)))
    if isinstance(run.model, Denoiser) and run.recipe.task == "denoiser":
        row, figure, more = _levels(run, real, some(run, train, len(real.x), seed) if apart else None, seed)
        rows += [] if row is None else [row]
        shown.append(figure)
        numbers |= more
    return Standing(rows, shown, numbers)


def _searched(run: Any, train: Any, seed: int) -> Some:
    """All of the training data, or as many as `SEARCHED` allows."""
    return some(run, train, max(1, SEARCHED // max(1, int(np.prod(run.event_shape)))), seed)


def _distances(made: Tensor, real: Some, train: Some | None, what: str, seed: int) -> list[tuple[Row, dict[str, Any]]]:
    """The sliced Wasserstein distance with floor, and where data were held out the share nearer to the others."""
    by = None
    if made[0].numel() > COMPONENTS:
        fitted = real.x if train is None else train.x[: 4 * MANY]
        by = metrics.features.pca(fitted, min(COMPONENTS, len(fitted) - 1))
    made = made[: comparable(len(made), len(real.x), None if train is None else len(train.x))]
    spare = None if train is None else train.x[: max(len(made), 2 * len(real.x))]
    distance = metrics.sliced(made, real.x, features=by, spare=spare, permutations=99, seed=seed)
    s = distance.summary(0.9)
    note = (
        f"floor {s['floor']:.4f}: real to real at these sizes; p = {s['p_value']:.2g}. Without the bias of the sizes "
        f"{s['low']:.4f} to {s['high']:.4f}, 90%"
    )
    where = what if train is not None else "the data it was trained on"
    found = [(Row(f"sliced W2, samples to {where}", f"{s['value']:.4f}", note), {"sliced": s})]
    if train is not None:
        copies = metrics.memorization(made, train.x, real.x, seed=seed).summary(0.9)
        note = f"50% without memorisation, 100% for copies; 90% interval {copies['low']:.1%} to {copies['high']:.1%}"
        found.append((Row("samples nearer to training than held-out data", f"{copies['value']:.1%}", note),
                      {"memorization": copies}))  # fmt: skip
    return found


def _nearest(run: Any, drawn: Drawn, whole: Tensor, made: Tensor, real: Some | None, train: Some, of: int) -> Shown:
    found = metrics.nearest(made, train.x)
    reference = None if real is None else metrics.nearest(real.x, train.x).distance[:, 0]
    what = f"{len(train.x):,} training data" + (f" looked at, of {of:,}" if of > len(train.x) else "")
    pairs = train.raw[found.index[:, 0]]
    return kinds.nearest(drawn.raw[whole], pairs, run.look, found.distance[:, 0], reference, what)


def _levels(run: Any, real: Some, train: Some | None, seed: int) -> tuple[Row | None, Shown, dict[str, Any]]:
    """The denoiser's errors by noise level, on data held out and on data it was trained on."""
    names = ("held-out data", "training data") if train is not None else ("training data",)
    sets = {name: data for name, data in zip(names, (real, train), strict=False) if data is not None}
    at, errors = errors_by_level(run.denoiser, {name: _points(run, data, seed) for name, data in sets.items()})
    gaussian = np.asarray(at) / np.sqrt(1 + np.asarray(at) ** 2)
    text = (
        f"How far the guess E[x0 | x_t] is from the datum, root mean square over {len(real.x):,} data each, by how "
        "much noise it was given; dotted, the best guess for data of this spread without structure. Held-out data far "
        "above training data: it has learned them by heart. Both near the dotted line: it has learned nothing there."
    )
    numbers: dict[str, Any] = {"levels": {"noise": at, **errors}}
    said, row = "", None
    if train is not None and at:
        times = float(np.exp(np.mean(np.log(np.divide(*(np.asarray(errors[name]) ** 2 for name in names))))))
        numbers["held_out_over_training"] = times
        note = "geometric mean over noise levels of the squared errors; 1 where nothing is learned by heart"
        row, said = (
            Row("denoising error, held out over training", f"{times:.3f}", note),
            f", {times:.2f} times as large",
        )
    alt = f"Curves of the error over the noise level, {' and '.join(sets)}{said}."
    figure = plots.error_by_level(at, errors, gaussian)
    return row, Shown("Error by noise level", text, alt, figure), numbers


def errors_by_level(denoiser: Denoiser, sets: dict[str, Points]) -> tuple[list[float], dict[str, list[float]]]:
    """(noise ratios over the data's standard deviation, root mean square errors of E[x0 | x_t] over it by set)."""
    sd = float(denoiser.data_std)
    errors: dict[str, list[float]] = {name: [] for name in sets}
    at: list[float] = []
    with torch.no_grad():
        for ratio in np.geomspace(*LEVELS).tolist():
            made = {name: predictions(denoiser, points, ratio * sd) for name, points in sets.items()}
            if any(m is None for m in made.values()):  # no such noise in this process
                continue
            at.append(ratio)
            for name, m in made.items():
                assert m is not None
                errors[name].append(float((m - sets[name].x0.double()).square().mean().sqrt()) / sd)
    return at, errors


def _points(run: Any, data: Some, seed: int) -> Points:
    rows = torch.arange(len(data.x), device=run.device)
    told = Conditions.of({name: v.to(run.device) for name, v in data.told(run).items()}, len(data.x))
    return Points.of(data.x.to(run.device), told, rows, as_seed(seed))


def draws(run: Any) -> bool:
    """Whether samples can be had of the run."""
    return isinstance(run.model, Denoiser | Generative)
