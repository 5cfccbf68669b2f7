"""What is measured of samples: distance, modes and their weights, diversity; each beside what real data have.

With labels k(x) of the nearest mode and shares w, all over n samples:

    distance     sliced W2 in the plane; of pictures the Frechet distance of their first principal components
    modes        those that at least a tenth of the samples they are due are nearest to: blur is no collapse
    weights      total variation 1/2 sum_k |share_k - w_k|
    good         in the plane: within four standard deviations of a mode; of pictures: as near to a real picture as 95%
                 of other real ones are
    coverage     of the held-out data, those with a sample nearer than their own fifth nearest neighbour (Naeem et al.
                 2020): it falls where variety is lost, modes apart
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from scorefield import metrics
from scorefield.catalogue import SHAPES, make
from scorefield.data import Source
from scorefield.distributions import GaussianMixture

COMPONENTS, NEIGHBOURS, HIT, WITHIN, MODES = 48, 5, 0.1, 4.0, 64


class Measured(NamedTuple):
    """Of some samples."""

    distance: float
    modes: int
    weights: float  # total variation
    good: float
    coverage: float
    shares: list[float]  # of the modes


class Judge(Protocol):
    """Measures samples of one law, in raw units."""

    modes: int
    metric: str
    floor: Measured  # of as many real ones: means over four sets

    def __call__(self, x: Tensor) -> Measured: ...


def judge(data: str, train: Source, test: Source, n: int) -> Judge:
    """For `n` samples each, of data of that name.

    Raises:
        ValueError: for too few held-out data, or a shape without modes to count.
    """
    check(data)
    return _Plane(make("data", data, SHAPES), n) if data in SHAPES else _Pictures(train, test, n)


def check(data: str) -> None:
    """Refuses a shape without modes to count.

    Raises:
        ValueError: for one that is no mixture of a few Gaussians.
    """
    law = make("data", data, SHAPES) if data in SHAPES else None
    if law is not None and not (isinstance(law, GaussianMixture) and len(law.means) <= MODES):
        raise ValueError(f"data must be a shape of separate modes, such as '25-gaussians'; got {data!r}")


class _Plane:
    metric = "sliced W2"

    def __init__(self, law: GaussianMixture, n: int) -> None:
        self.law, self.modes = law, len(law.means)
        self._std = law.covariances[0].diagonal().mean().sqrt()
        generator = torch.Generator().manual_seed(2**31 - 1)
        sets = [law.sample(n, generator=generator) for _ in range(6)]
        self.real, self.balls = sets[0], _radii(sets[0])
        self.floor = _mean([self(x) for x in sets[1:]])

    def __call__(self, x: Tensor) -> Measured:
        found = metrics.nearest(x, self.law.means)
        label, near = found.index[:, 0], found.distance[:, 0] < WITHIN * self._std
        return _measured(
            metrics.sliced_wasserstein(x, self.real), label, near, self.law.weights, len(x),
            _coverage(x, self.real, self.balls),
        )  # fmt: skip


class _Pictures:
    metric = "Frechet"
    modes = 10

    def __init__(self, train: Source, test: Source, n: int) -> None:
        if len(test) < 2 * n:
            raise ValueError(f"samples must be at most half of the {len(test)} held-out data; got {n}")
        known = train.batch(torch.arange(min(len(train), 5000), device="cpu"))
        self.scale = float(known.x.max())
        flat = self._flat(known.x)
        self.centre = flat.mean(0)
        self.axes = torch.linalg.svd(flat - self.centre, full_matrices=False).Vh[:COMPONENTS].T
        self.known, self.label = self._features(known.x), known.cond["label"]
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0), device="cpu")
        rows = [order[i * n : (i + 1) * n] for i in range(min(3, len(test) // n))]
        sets = [test.batch(r).x for r in rows]
        self.real = self._features(sets[0])
        self.balls = _radii(self.real)
        self.shares = torch.bincount(self._classes(self.real), minlength=10).double() / n
        reach = metrics.nearest(self._features(sets[1]), self.real).distance[:, 0]
        self.reach = float(reach.quantile(0.95))
        self.floor = _mean([self(x) for x in sets[1:]])

    def __call__(self, x: Tensor) -> Measured:
        features = self._features(x)
        near = metrics.nearest(features, self.real).distance[:, 0] <= self.reach
        return _measured(
            metrics.frechet_distance(features, self.real), self._classes(features), near, self.shares, len(x),
            _coverage(features, self.real, self.balls),
        )  # fmt: skip

    def _flat(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1).double() / self.scale

    def _features(self, x: Tensor) -> Tensor:
        return (self._flat(x) - self.centre) @ self.axes

    def _classes(self, features: Tensor) -> Tensor:
        """Of the nearest training picture."""
        return self.label[metrics.nearest(features, self.known).index[:, 0]]


def _measured(distance: float, label: Tensor, near: Tensor, due: Tensor, n: int, coverage: float) -> Measured:
    shares = torch.bincount(label, minlength=len(due)).double() / n
    return Measured(
        distance,
        int((shares >= HIT * due).sum()),
        float((shares - due).abs().sum() / 2),
        float(near.double().mean()),
        coverage,
        shares.tolist(),
    )


def _radii(real: Tensor) -> Tensor:
    return metrics.nearest(real, real, k=NEIGHBOURS + 1).distance[:, -1]  # the nearest is the datum itself


def _coverage(x: Tensor, real: Tensor, balls: Tensor) -> float:
    return float((metrics.nearest(real, x).distance[:, 0] < balls).double().mean())


def _mean(measured: list[Measured]) -> Measured:
    columns = list(zip(*measured, strict=True))
    shares = torch.tensor(columns[-1], device="cpu").mean(0).tolist()
    distance, modes, weights, good, coverage = (sum(column) / len(column) for column in columns[:-1])
    return Measured(distance, round(modes), weights, good, coverage, shares)
