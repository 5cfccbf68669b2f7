"""The two-sample test that a classifier makes, and the weights of labelled modes.

Train a classifier on half of either set to tell them apart; score the other halves. If the laws are equal the held-out
scores are exchangeable, whatever the classifier is: under all regroupings of them the rank of the statistic is uniform,
and the p-value is valid at any sample size. A weak classifier loses power, never level. The statistic is the area under
the ROC curve, P(score of real > score of generated): 1/2 where the classifier sees no difference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from scorefield.metrics.detection import auroc
from scorefield.metrics.evidence import Evidence, normal, share
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import generator, pair, rank
from scorefield.randomness import as_seed

LOST = 0.1  # of its share among the real: a mode with less is lost


def two_sample(
    x: Tensor,
    y: Tensor,
    *,
    classifier: Any = None,
    features: Features | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Evidence:
    """Can a classifier tell samples `x` `(n, *event)` from real data `y` `(m, *event)`?

    `.value` is the area under the ROC curve on held-out halves, 1/2 at the null (`.floor`). `.p_value` is that of all
    regroupings of the held-out scores, ties in random order, valid in finite samples for any classifier. `.interval` is
    DeLong's, about the area of *this* classifier: what another would find it does not say.

    Args:
        classifier: with scikit-learn's `fit(X, labels)` and `predict_proba(X)` or `decision_function(X)`; it is fitted
            in place. Unless given, gradient-boosted trees.
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.

    Raises:
        ValueError: for less than 8 samples, or sets of two event sizes.

    References:
        Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests; Kim et al. 2021, Classification accuracy as a
        proxy for two-sample testing; Vovk, Gammerman & Shafer 2005, Algorithmic learning in a random world.
    """
    sets = pair(x, y, features, least=8)
    if classifier is None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        classifier = HistGradientBoostingClassifier(
            max_iter=60,
            early_stopping=False,  # type: ignore[arg-type]
            random_state=as_seed(seed) % 2**32,
        )
    draw = generator(seed)
    halves = []
    for s in (sets.x, sets.y):
        order = torch.randperm(len(s), generator=draw, device="cpu")
        halves.append((s[order[: len(s) // 2]].numpy(), s[order[len(s) // 2 :]].numpy()))
    seen = np.concatenate([halves[0][0], halves[1][0]])
    classifier.fit(seen, np.r_[np.zeros(len(halves[0][0]), int), np.ones(len(halves[1][0]), int)])

    def scored(held: np.ndarray) -> np.ndarray:
        if hasattr(classifier, "predict_proba"):
            return np.asarray(classifier.predict_proba(held))[:, 1]
        return np.asarray(classifier.decision_function(held))

    scores = [scored(held) for _, held in halves]
    area = auroc(*scores)

    def p() -> float:
        n = len(scores[0])
        ranks = torch.from_numpy(stats.rankdata(np.concatenate(scores)))
        orders = [torch.randperm(len(ranks), generator=draw, device="cpu")[n:] for _ in range(permutations)]
        return rank(float(ranks[n:].sum()), torch.stack([ranks[order].sum() for order in orders]))

    return Evidence(
        name="two_sample",
        value=area.value,
        n=(len(scores[0]), len(scores[1])),
        features=sets.features,
        bounds=area.bounds,
        null=lambda: (0.5, (len(scores[0]), len(scores[1]))),
        p=p,
    )


class ModeWeights(NamedTuple):
    """How often each class is made, against how often it is there."""

    weights: tuple[Evidence, ...]  # of each class: its share of the generated; the floor is its share of the real
    total_variation: Evidence  # between the two vectors of shares
    lost: tuple[int, ...]  # classes with less than LOST of their share

    @property
    def covered(self) -> int:
        """Classes that are not lost."""
        return len(self.weights) - len(self.lost)


def mode_weights(
    generated: Tensor, real: Tensor, *, classes: int | None = None, permutations: int = 9999, seed: int = 0
) -> ModeWeights:
    """Shares of classes among `generated` labels `(n,)`, a classifier's say, and among `real` ones `(m,)`.

    The interval of a class's share is Wilson's, and its p-value Fisher's exact test of the two counts. The total
    variation 1/2 sum |p_k - q_k| is too large, as an |error| does not cancel: `.extrapolated` takes off the mean of a
    folded normal at each class, and is still too large. Signs found on one half of the data and gaps on the other,
    averaged over all halves, give a number that is too small by as little. The interval reaches from the one's lower to
    the other's upper end, with the multinomial variance, and holds whichever classes are alike. Its p-value is that of
    regroupings of the labels, exact. A classifier's mistakes are in both: read the real data's labels by it too.

    Args:
        classes: how many there are; the largest label and 1 unless given.

    Raises:
        ValueError: for labels that are not integers `(N,)` in 0 .. classes - 1, or none.
    """
    for name, labels in (("generated", generated), ("real", real)):
        if labels.ndim != 1 or not len(labels) or labels.is_floating_point() or int(labels.min()) < 0:
            raise ValueError(f"{name} must be integer labels (N,), from 0; got {labels.dtype}, {tuple(labels.shape)}")
    found = int(max(generated.max(), real.max())) + 1
    classes = found if classes is None else classes
    if found > classes:
        raise ValueError(f"labels must lie in 0 .. {classes - 1}; got {found - 1}")
    counts = np.stack([np.bincount(labels.cpu().numpy(), minlength=classes) for labels in (generated, real)])
    n, m = (int(c) for c in counts.sum(1))
    p, q = counts[0] / n, counts[1] / m
    weights = tuple(
        Evidence(
            name=f"class {k}",
            value=float(p[k]),
            n=(n, m),
            features="labels",
            bounds=share(float(p[k]), 0.0, n),
            null=lambda k=k: (float(q[k]), (n, m)),
            p=lambda k=k: _fisher(counts[:, k], n, m),
        )
        for k in range(classes)
    )
    lost = tuple(k for k in range(classes) if q[k] > 0 and p[k] < LOST * q[k])
    return ModeWeights(weights, _total_variation(counts, permutations, seed), lost)


def _fisher(count: np.ndarray, n: int, m: int) -> float:
    table = [[count[0], n - count[0]], [count[1], m - count[1]]]
    return float(stats.fisher_exact(table).pvalue)  # type: ignore[union-attr]


def _total_variation(counts: np.ndarray, permutations: int, seed: int) -> Evidence:
    n, m = (int(c) for c in counts.sum(1))
    p, q = counts[0] / n, counts[1] / m
    value = float(np.abs(p - q).sum() / 2)
    sd = np.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    gap, known = np.abs(p - q), sd > 0
    z = gap[known] / sd[known]
    folded = 2 * stats.norm.pdf(z) - 2 * z * stats.norm.sf(z)  # E |z + error| - z
    split = z * (1 - 2 * stats.norm.sf(z)) - 2 * stats.norm.pdf(z)  # E sign(z + e) (z - e), e standard normal
    least, most = (float(np.sum(sd[known] * of)) / 2 for of in (split, z - folded))
    sign = np.sign(p - q) / 2
    error = float(np.sqrt(sum((s @ sign**2 - (s @ sign) ** 2) / size for s, size in ((p, n), (q, m)))))

    def test() -> float:
        draw = np.random.default_rng(seed)
        regrouped = draw.multivariate_hypergeometric(counts.sum(0), n, size=permutations, method="marginals")
        others = np.abs(regrouped / n - (counts.sum(0) - regrouped) / m).sum(1) / 2
        return rank(value, torch.from_numpy(others))

    def floor() -> tuple[float, tuple[int, ...]]:
        draw = np.random.default_rng(seed)
        one, other = (draw.multinomial(size, q, 200) / size for size in (n, m))
        return float(np.abs(one - other).sum(1).mean() / 2), (n, m)

    return Evidence(
        name="total_variation",
        value=value,
        n=(n, m),
        features="labels",
        bounds=lambda level: (normal(least, error, low=0.0)(level)[0], normal(most, error, high=1.0)(level)[1]),
        limit=lambda: most,
        null=floor,
        p=test,
    )
