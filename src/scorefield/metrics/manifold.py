"""Fidelity and diversity by nearest neighbours.

Around each sample lies the ball that reaches its k-th neighbour in its own set. With the real y_i, i <= m, and the
generated x_j, j <= n,

    precision   the share of x_j in any ball of the real                       is what is made real?
    recall      the share of y_i in any ball of the generated                  is what is real made?
    density     (1 / k n) sum_ij of x_j in the ball of y_i                     as precision, but counted; 1 at the null
    coverage    the share of the balls of the real that hold a generated one

A ball is closed for three of them. For the density it holds a mass of exactly k real points, its own among them: those
inside it count 1, and those on its surface share what is missing to k. So copies of the real set have density 1, and a
set that is one point everywhere has all four equal to 1; without ties it is the usual definition.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.metrics.evidence import Bounds, Evidence, normal, share
from scorefield.metrics.features import Features
from scorefield.metrics.pairs import generator, pair, rank

EXACTLY = "donot_use_mm_for_euclid_dist"  # copies are at distance 0
NAMES = ("precision", "recall", "density", "coverage")


class PrecisionRecall(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage)."""

    precision: Evidence
    recall: Evidence
    density: Evidence
    coverage: Evidence


class Distances(NamedTuple):
    """All distances within and between two sets."""

    real: Tensor  # (m, m)
    generated: Tensor  # (n, n)
    between: Tensor  # (m, n)

    def of(self, rows: Tensor, columns: Tensor) -> Distances:
        """Those of subsets."""
        return Distances(self.real[rows][:, rows], self.generated[columns][:, columns], self.between[rows][:, columns])


def precision_recall(
    *,
    real: Tensor,
    generated: Tensor,
    k: int = 5,
    features: Features | None = None,
    spare: Tensor | None = None,
    subsamples: int = 60,
    permutations: int = 99,
    seed: int = 0,
) -> PrecisionRecall:
    """Precision, recall, density and coverage of `generated` `(n, *event)`, against `real` `(m, *event)`.

    The two sets have names, since exchanged they give other numbers. All four depend on n, m and k; the interval is
    about their means at these sizes. Its width is the spread over random halves of both sets: half a set, drawn
    without replacement, varies about the whole as the whole does about the truth,
    (1 / b) (1 - b / n) = 1 / n at b = n / 2. (The bootstrap draws duplicates, which are each other's neighbours at
    distance 0, shrinks all balls, and covers nothing.) Shares take Wilson's form, inside [0, 1], with as many
    independent draws as the spread and the mean of the halves stand for. The p-value is two-sided, of how far a number
    is from the median of random regroupings of the pooled samples, one set of regroupings for all four.

    Args:
        k: neighbours a ball reaches; 3 and 5 are usual.
        features: takes `(B, *event)` to `(B, d)`; the flattened events unless given.
        spare: further real data, so that the floor is had at the sizes (n, m).
        subsamples: halves that an interval is made of.
        permutations: regroupings that a p-value is made of.

    Raises:
        ValueError: for sets of two event sizes, or a k outside 1 .. half of the smaller set, less 1.

    References:
        Kynkäänniemi et al. 2019, Improved precision and recall metric; Naeem et al. 2020, Reliable fidelity and
        diversity metrics; Politis & Romano 1994, Large sample confidence regions based on subsamples.
    """
    sets = pair(generated, real, features, spare)
    most = min(sets.n) // 2 - 1
    if not 1 <= k <= most:
        raise ValueError(f"k must lie in [1, {most}], so that half of the smaller set has as many neighbours; got {k}")
    distances = _distances(sets.y, sets.x)
    values = _numbers(distances, k)

    @functools.cache
    def halves() -> Tensor:
        draw, found = generator(seed), []
        for _ in range(subsamples):
            rows, columns = (torch.randperm(n, generator=draw, device="cpu")[: n // 2] for n in sets.n[::-1])
            found.append(_numbers(distances.of(rows, columns), k))
        values_of = torch.tensor(found, dtype=torch.float64, device="cpu")
        return torch.stack([values_of.mean(0), values_of.std(0)])

    @functools.cache
    def nulls() -> tuple[list[float], tuple[int, ...]]:
        kept: list[list[float]] = []
        at = sets.floor(lambda x, y: (kept.append(_numbers(_distances(y, x), k)), 0.0)[1], repeats=4, seed=seed)[1]
        return [sum(column) / len(kept) for column in zip(*kept, strict=True)], at

    @functools.cache
    def regrouped() -> Tensor:
        pooled = torch.cat([sets.x, sets.y])
        whole, n = torch.cdist(pooled, pooled, compute_mode=EXACTLY), len(sets.x)
        return torch.tensor(
            [_numbers(_regrouped(whole, order[n:], order[:n]), k) for order in sets.permutations(permutations, seed)],
            dtype=torch.float64,
            device="cpu",
        )

    def p(place: int) -> float:
        others = regrouped()[:, place]
        centre = float(others.median())
        return rank(abs(values[place] - centre), (others - centre).abs())

    def bounds(place: int) -> Bounds:
        size = sets.n[0] if NAMES[place] == "precision" else sets.n[1]
        how = normal if NAMES[place] == "density" else None

        def of(level: float) -> tuple[float, float]:
            (mean, error), degrees = halves()[:, place].tolist(), subsamples - 1
            if how:
                return normal(values[place], error, low=0.0, degrees=degrees)(level)
            return share(values[place], error, size, at=mean, degrees=degrees)(level)

        return of

    return PrecisionRecall(
        *(
            Evidence(
                name=name,
                value=values[i],
                n=sets.n,
                features=sets.features,
                bounds=bounds(i),
                null=lambda i=i: (nulls()[0][i], nulls()[1]),
                p=lambda i=i: p(i),
            )
            for i, name in enumerate(NAMES)
        )
    )


def _distances(real: Tensor, generated: Tensor) -> Distances:
    return Distances(
        *(torch.cdist(a, b, compute_mode=EXACTLY) for a, b in ((real, real), (generated,) * 2, (real, generated)))
    )


def _regrouped(whole: Tensor, real: Tensor, generated: Tensor) -> Distances:
    """Of the pooled samples, those at `real` against those at `generated`."""
    one, other = whole[real], whole[generated]
    return Distances(one[:, real], other[:, generated], one[:, generated])


def _numbers(distances: Distances, k: int) -> list[float]:
    """precision, recall, density, coverage."""
    radius, its = (own.kthvalue(k + 1, 1).values for own in (distances.real, distances.generated))  # 0 is its own
    between = distances.between
    inside = between <= radius[:, None]
    edge = between == radius[:, None]
    within = (distances.real < radius[:, None]).sum(1)
    on = (distances.real == radius[:, None]).sum(1)
    missing = ((k - within).clamp(min=0) / on).double()  # of each point on the surface
    mass = (inside & ~edge).sum(1) + missing * edge.sum(1)
    return [
        float(inside.any(0).double().mean()),
        float((between <= its).any(1).double().mean()),
        float(mass.sum() / (k * between.shape[1])),
        float(inside.any(1).double().mean()),
    ]
