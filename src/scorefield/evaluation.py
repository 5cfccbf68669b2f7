"""How good samples are: every metric that applies, each with its interval, its floor and a verdict, in one table.

A verdict is a reading of the numbers beside it, by one rule each:

    a distance        "not told from real" where its p-value is above 0.05, else how many floors it is
    a share           as real data where its p-value is above 0.05, else below or above its floor, that of real data
    memorisation      copies, where its one-sided p-value is at most 0.05
    likelihood        below that of the training data, where the one-sided p-value is at most 0.05

Of twenty tests without any difference one falls below 0.05.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import metrics
from scorefield.metrics import Evidence, ModeWeights

LEVEL = 0.9
TESTED = 0.05
TRANSPORTED = 500  # samples of the exact Wasserstein distance, whose cost grows with their cube
COMPONENTS = 64  # principal components that larger events are compared by

Features = Callable[[Tensor], Tensor]


class Judged(NamedTuple):
    """One metric: its evidence as plain values (see `Evidence.summary`), and what they say."""

    numbers: dict[str, Any]
    verdict: str


class Evaluation(NamedTuple):
    """What `evaluate` returns."""

    rows: list[Judged]
    classes: list[Judged]  # of labelled data: the share of each class among the samples
    read_back: float | None  # share of samples whose class is read as asked for; None where none was
    read_back_real: float | None  # and of real data

    @property
    def told_apart(self) -> list[str]:
        """The distances, shares and tests whose p-value is at most 0.05."""
        return [r.numbers["metric"] for r in self._between if r.numbers["p_value"] <= TESTED]

    @property
    def _between(self) -> list[Judged]:
        """What compares samples with real data."""
        return [r for r in self.rows if r.numbers["metric"] not in OF_TRAINING]

    @property
    def corrected(self) -> list[str]:
        """Those whose interval is about another number than their value, without the bias of the sizes."""
        return [r.numbers["metric"] for r in self.rows if r.numbers["extrapolated"] != r.numbers["value"]]

    def __str__(self) -> str:
        told, tests = self.told_apart, len(self._between)
        if not told:
            return f"None of {tests} tests tells the samples from real data."
        return f"{len(told)} of {tests} tests tell the samples from real data: {', '.join(told)}."


def evaluate(
    generated: Tensor,
    real: Tensor,
    *,
    train: Tensor | None = None,
    asked: Tensor | None = None,
    labels: Tensor | None = None,
    train_labels: Tensor | None = None,
    features: Features | None = None,
    level: float = LEVEL,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Judges samples `generated` `(n, *event)` against held-out data `real` `(m, *event)`.

    Args:
        train: what the model was trained on, of the same law as `real`: for memorisation, and for floors at full sizes.
        asked: `(n,)` classes that the samples were asked to be.
        labels, train_labels: classes of `real` and `train`; with both, a nearest-neighbour classifier of `train` reads
            the classes of the samples and of the real data alike.
        features: takes `(B, *event)` to `(B, d)`; unless given the events themselves, above 64 entries their first 64
            principal components, those of `train` where there is one.
        level: of the intervals.
        progress: called with the fraction that is done.

    Raises:
        ValueError: for less than 20 samples of either, or events of two sizes.
    """
    if min(len(generated), len(real)) < 20:
        raise ValueError(
            f"at least 20 samples and 20 real data are needed; got {len(generated)} and {len(real)}: give more data to "
            "compare with (--against), or hold out more (data.held_out)"
        )
    if features is None and real[0].numel() > COMPONENTS:
        fitted = real if train is None else train
        features = metrics.features.pca(fitted, min(COMPONENTS, len(fitted) - 1))
    pair: dict[str, Any] = {"features": features, "spare": train, "seed": seed}
    few = {**pair, "spare": None if train is None else train[:TRANSPORTED]}
    nearest = functools.cache(
        lambda: metrics.precision_recall(
            real=real, generated=generated, permutations=39, **pair
        )  # four metrics of one computation
    )
    makers: list[Callable[[], Evidence]] = [
        lambda: metrics.frechet(generated, real, permutations=99, **pair),
        lambda: metrics.kernel_distance(generated, real, **pair),
        lambda: metrics.mmd(generated, real, **pair),
        lambda: metrics.sliced(generated, real, permutations=99, **pair),
        lambda: metrics.wasserstein(generated[:TRANSPORTED], real[:TRANSPORTED], permutations=19, **few),
        lambda: metrics.two_sample(generated, real, features=features, seed=seed),
        *(functools.partial(lambda i: nearest()[i], i) for i in range(4)),
    ]
    if train is not None:
        makers.append(lambda: metrics.memorization(generated, train, real, features=features, seed=seed))
    rows = []
    for k, make in enumerate(makers):
        rows.append(judge(make(), level))
        if progress is not None:
            progress((k + 1) / (len(makers) + 1))
    read = _read(generated, real, train, labels, train_labels, features)
    if read is None:
        return Evaluation(rows, [], None, None)
    of_generated, of_real = read
    modes = metrics.mode_weights(of_generated, of_real, seed=seed)
    rows.append(judge(modes.total_variation, level))
    assert labels is not None
    agrees = None if asked is None else float((of_generated == asked.cpu()).double().mean())
    return Evaluation(rows, _classes(modes, level), agrees, float((of_real == labels.cpu()).double().mean()))


def judge(evidence: Evidence, level: float = LEVEL) -> Judged:
    """One metric as plain values, and what they say."""
    numbers = evidence.summary(level)
    return Judged(numbers, _verdict(numbers))


def _verdict(s: dict[str, Any]) -> str:
    p, value, floor = s["p_value"], s["value"], s["floor"]
    if s["metric"] == "memorization":
        return "nearer to the training data: copies" if p <= TESTED else "no sign of copies"
    if s["metric"] == "held_out_likelihood":
        if p is None:
            return ""
        return f"below that of the training data (p = {p:.2g})" if p <= TESTED else "as that of the training data"
    if s["metric"] in SHARES:
        side = "above" if value > floor else "below"
        return f"as real data (p = {p:.2g})" if p > TESTED else f"{side} real data (p = {p:.2g})"
    if p > TESTED:
        return f"not told from real (p = {p:.2g})"
    times = f", {value / floor:.2g} x the floor" if s["metric"] in RATIOS and floor > 0 else ""
    return f"differs (p = {p:.2g}){times}"


SHARES = ("precision", "recall", "density", "coverage")
OF_TRAINING = ("memorization", "held_out_likelihood")  # which compare with the training data
RATIOS = ("frechet", "sliced", "wasserstein", "total_variation")  # whose floors are of their own size


def _classes(modes: ModeWeights, level: float) -> list[Judged]:
    found = []
    for k, evidence in enumerate(modes.weights):
        numbers = evidence.summary(level)
        p = numbers["p_value"] * len(modes.weights)  # Bonferroni
        word = "lost" if k in modes.lost else "too rare" if numbers["value"] < numbers["floor"] else "too common"
        found.append(Judged(numbers, word if p <= TESTED or k in modes.lost else "as real data"))
    return found


def _read(
    generated: Tensor,
    real: Tensor,
    train: Tensor | None,
    labels: Tensor | None,
    train_labels: Tensor | None,
    features: Features | None,
) -> tuple[Tensor, Tensor] | None:
    """Classes of both sets as one classifier of the training data reads them."""
    if train is None or labels is None or train_labels is None:
        return None
    from sklearn.neighbors import KNeighborsClassifier

    def flat(x: Tensor) -> np.ndarray:
        return (x if features is None else features(x)).flatten(1).cpu().double().numpy()

    reader = KNeighborsClassifier(min(5, len(train))).fit(flat(train), train_labels.cpu().numpy())
    one, other = (torch.from_numpy(np.asarray(reader.predict(flat(x)))) for x in (generated, real))
    return one, other
