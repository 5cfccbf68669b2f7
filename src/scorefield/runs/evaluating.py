"""A run, judged against data it did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import data, metrics, recipes
from scorefield._caller import warn as warn_caller
from scorefield.data import Source
from scorefield.evaluation import LEVEL, Evaluation, judge
from scorefield.evaluation import evaluate as judged
from scorefield.likelihood import Effort, default_probes, over_data, per_datum
from scorefield.metrics import Evidence
from scorefield.runs.beside import comparable, some
from scorefield.runs.drawing import Drawn
from scorefield.runs.trained import Trained, load

LIKELIHOODS = 64


class Evaluated(NamedTuple):
    """What `evaluate` returns."""

    found: Evaluation
    drawn: Drawn  # the samples
    against: str  # what they were compared with


def evaluate(
    run: Trained,
    *,
    against: str | None = None,
    policy: Mapping[str, Any] | None = None,
    n: int = 1000,
    nfe: int | None = None,
    features: str | Callable[[Tensor], Tensor] | None = None,
    likelihoods: int = LIKELIHOODS,
    level: float = LEVEL,
    seed: int = 0,
    data_dir: Path | None = None,
    progress: Callable[[float], None] | None = None,
    warn: Callable[[str], None] = warn_caller,
) -> Evaluated:
    """Samples a run and judges the samples against its held-out data, in the model's units.

    A run with classes is asked for those of the held-out data. Where the recipe holds data out, the training data are
    read too: for memorisation, for floors at full sizes, and to read classes by.

    Args:
        against: other data, a name or a path; then the training data are left aside.
        policy: of the reader of other data, before the recipe's own.
        n: samples, and at most as many held-out data.
        nfe: network evaluations a sample.
        features: "raw", "pca:K", the folder of a classifier's run, a .pt2 file of torch.export, or any callable; see
            `evaluation.evaluate` for the default.
        likelihoods: held-out data whose likelihood is computed, and as many of the training data beside them; 0 for
            none. In bits per dimension of integers, with the sign of a likelihood, else nats per dimension.
        progress: called with the fraction that is done.

    Raises:
        ValueError: for unknown features; as `Trained.held_out` and `evaluation.evaluate`.
    """
    said = progress or (lambda _: None)
    source, what = found = run.held_out(against, policy=policy, data_dir=data_dir)
    for line in found.notes:
        warn(line)
    train = _training(run, data_dir) if against is None and found.apart else None
    real = some(run, source, n, seed)
    of_train = None if train is None else some(run, train, 2 * n, seed)
    by = _features(features, run, real.x if of_train is None else of_train.x, warn)
    if (fewer := comparable(n, len(real.x), None if of_train is None else len(of_train.x))) < n:
        warn(f"{fewer:,} samples are compared, not {n:,}: a floor takes as many other real data, and no more are there")
        n = fewer
    asked = None
    if run.num_classes is not None and "label" in run.conditions:
        turn = torch.arange(n, device="cpu")
        asked = turn % run.num_classes if real.label is None else real.label[turn % len(real.label)]
    drawn = run.sample(n, label=asked, nfe=nfe, seed=seed, warn=warn)
    said(0.3)
    made = run.to_model(drawn.raw, torch.arange(n, device="cpu"), seed=seed + 1).cpu()
    found = judged(
        made, real.x, train=None if of_train is None else of_train.x, asked=asked, labels=real.label,
        train_labels=None if of_train is None else of_train.label, features=by, level=level, seed=seed,
        progress=lambda done: said(0.3 + 0.5 * done),
    )  # fmt: skip
    if likelihoods:
        row = _likelihood(run, source, train, min(likelihoods, len(source)), seed, warn)
        found = found if row is None else found._replace(rows=[*found.rows, judge(row, level)])
    said(1.0)
    return Evaluated(found, drawn, f"{len(real.x)} of the {what}")


def _likelihood(
    run: Trained, source: Source, train: Source | None, n: int, seed: int, warn: Callable[[str], None]
) -> Evidence | None:
    """Of n held-out data and as many training data, by one probe each: a mean's noise is that of the data anyway."""
    transform, d = run.transform, math.prod(run.event_shape)
    effort = Effort(probes=default_probes(d) and 1, elbo_draws=2, seed=seed)
    try:
        if transform is not None and transform.levels is not None:
            data.bits_per_dim(torch.zeros(1, device="cpu"), transform, d)  # refuses a model of bare integers
        found = []
        for of in (source, *(() if train is None else (train,))):
            rows = (
                torch.randperm(len(of), generator=torch.Generator().manual_seed(seed), device="cpu")[:n].sort().values
            )
            found.append(per_datum(run.denoiser, of, rows, effort, transform=transform))
    except ValueError as error:
        warn(f"no held-out likelihood: {error}")
        return None
    each = [-scored["bits_per_dim"] if "bits_per_dim" in scored else scored["log_prob"] / d for scored in found]
    summary = over_data(found[0], d)
    off = math.hypot(summary["solver"], summary["truncation"])
    return metrics.held_out_likelihood(*each, off=off)


def _training(run: Trained, data_dir: Path | None) -> Source | None:
    return None if run.recipe is None else recipes.training_data(run.recipe.data, data_dir=data_dir)


def _features(named: Any, run: Trained, fitted: Tensor, warn: Callable[[str], None]) -> Any:
    """What `named` says, as a callable; a classifier sees data at its least noise."""
    if named is None or callable(named):
        return named
    if named == "raw":
        return metrics.features.Named(lambda x: x.flatten(1), "raw", "0" * 12)
    if named.startswith("pca:") and named[4:].isdecimal():
        return metrics.features.pca(fitted, int(named[4:]))
    if named.endswith(".pt2"):
        return metrics.features.exported(named)
    if not Path(named).exists():
        raise ValueError(f"features must be raw, pca:K, a classifier's run or a .pt2 file; got {named!r}")
    other = load(Path(named), warn=warn).to(run.device)
    classifier, t = other.classifier, torch.tensor(0.0, dtype=torch.float64, device="cpu")
    if tuple(other.event_shape) != tuple(run.event_shape):
        raise ValueError(f"{named} is for events of {tuple(other.event_shape)}; the run's have {run.event_shape}")
    name = f"classifier-{Path(named).name}"

    def seen(x: Tensor) -> Tensor:  # from this run's units to the classifier's
        x = x.to(run.device)
        raw = x if run.transform is None else run.transform.inverse(x)
        return classifier(raw if other.transform is None else other.transform(raw), t)

    return metrics.features.penultimate(classifier, name=name, forward=seen)
