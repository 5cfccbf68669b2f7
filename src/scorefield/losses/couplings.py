"""Couplings: which draw of the origin goes with which datum.

A flow is trained on pairs (x0, x1). Any pairing whose marginals are the data and the origin leads to a right flow; the
nearer the two are to each other, the straighter are its paths and the fewer its steps. Within a pool of n data and n
draws

    Independent   as they come
    Assignment    the permutation of least sum |x0_i - x1_j|^2                        (exact; cost grows as n^3)
    Sinkhorn      drawn from the plan P of least <P, |x0 - x1|^2> - epsilon H(P)      (large pools)

A pool is paired once and used `reuse` times. The larger it is the nearer the pairing comes to that of the laws, and one
large assignment, used for hundreds of steps, costs less than as many small ones. `Assignment(size=256, reuse=1)` is
minibatch optimal transport (Pooladian et al. 2023; Tong et al. 2024).

**Conditions.** If x1 were assigned regardless of the label, draws near a class would go to it: p(x1 | label) would no
longer be the origin, and a conditional sampler, which starts from the origin whatever the label, would be wrong. So
each distinct condition is a pool of its own: pairs never cross. With continuous conditions, where none comes twice,
that is no coupling at all; `condition_weight` w adds w |c - c'|^2 to the cost instead, right in the limit of large w
and pools.

This is the one exception to the rule that no sample depends on its batch: a datum's x1 depends on its pool. The pool is
a function of (seed, number), so a run is still a function of its seed, in one process or several.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scorefield.randomness import Randomness, uniforms

MOST = 10**8  # pivots of the network simplex: it ends by itself


@dataclass(frozen=True)
class Coupling(abc.ABC):
    """How pools are paired.

    Args:
        size: pairs of a pool.
        reuse: how often each pair is used before the next pool.
        condition_weight: w of the text; infinite: pairs never cross conditions.

    Raises:
        ValueError: for a size or a reuse below 1, or a weight that is negative.
    """

    size: int = 2048
    reuse: int = 50
    condition_weight: float = math.inf

    def __post_init__(self) -> None:
        if not (self.size >= 1 and self.reuse >= 1 and self.condition_weight >= 0):
            raise ValueError(
                f"{type(self).__name__}: size and reuse must be at least 1, condition_weight at least 0; "
                f"got {self.size}, {self.reuse} and {self.condition_weight}"
            )

    @abc.abstractmethod
    def plan(self, cost: Tensor, generator: Randomness) -> Tensor:
        """For each row of `cost` `(n, n)` the column it goes with, `(n,)` int64."""

    def pair(
        self, x0: Tensor, x1: Tensor, cond: Mapping[str, Tensor] | None = None, generator: Randomness = None
    ) -> tuple[Tensor, Tensor]:
        """The data and the draws, `(n, *event)` each, side by side as pairs."""
        return x0, x1[self.match(x0, x1, cond, generator).to(x1.device)]

    def match(
        self, x0: Tensor, x1: Tensor, cond: Mapping[str, Tensor] | None = None, generator: Randomness = None
    ) -> Tensor:
        """For each of `x0` `(n, *event)` the index of the x1 that it goes with, `(n,)` int64; `cond` is x0's.

        x1_j takes the place of the datum j, so that it brings that datum's condition along.

        Raises:
            ValueError: for x0 and x1 of unequal shape.
        """
        if x0.shape != x1.shape:
            raise ValueError(f"x1 must have the shape of x0, {tuple(x0.shape)}; got {tuple(x1.shape)}")
        index = torch.empty(len(x0), dtype=torch.int64, device="cpu")
        told = torch.cat([v.reshape(len(v), -1).double().cpu() for v in (cond or {}).values()], 1) if cond else None
        for rows in self._groups(told, len(x0)):
            cost = _squared_distances(x0[rows], x1[rows])
            if told is not None and math.isfinite(self.condition_weight):
                cost = cost + self.condition_weight * _squared_distances(told[rows], told[rows])
            index[rows] = rows[self.plan(cost, generator)]
        return index

    def _groups(self, told: Tensor | None, n: int) -> list[Tensor]:
        if told is None or math.isfinite(self.condition_weight):
            return [torch.arange(n, device="cpu")]
        kind = torch.unique(told, dim=0, return_inverse=True)[1]
        return [(kind == k).nonzero()[:, 0] for k in range(int(kind.max()) + 1 if n else 0)]


@dataclass(frozen=True)
class Independent(Coupling):
    """As they come: with standard normal x1 and straight paths, what `denoising` trains."""

    def plan(self, cost: Tensor, generator: Randomness) -> Tensor:
        return torch.arange(len(cost), device="cpu")


@dataclass(frozen=True)
class Assignment(Coupling):
    """The optimal permutation of each pool."""

    def plan(self, cost: Tensor, generator: Randomness) -> Tensor:
        import ot  # seconds: only who asks for it waits

        even = np.full(len(cost), 1 / max(len(cost), 1))
        plan = ot.emd(even, even, cost.numpy(), numItermax=MOST)
        return torch.from_numpy(np.asarray(plan).argmax(1))


@dataclass(frozen=True)
class Sinkhorn(Coupling):
    """Draws from the entropic plan: for each datum an x1 by P(j | i).

    Args:
        entropy: epsilon over the mean cost.
        iterations: of Sinkhorn's, in logarithms.

    Raises:
        ValueError: as `Coupling`; for an entropy that is not positive, or no iteration.

    References:
        Cuturi 2013.
    """

    entropy: float = 0.02
    iterations: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.entropy > 0 and self.iterations >= 1):
            raise ValueError(
                f"Sinkhorn: entropy must be positive and iterations at least 1; got {self.entropy}, {self.iterations}"
            )

    def plan(self, cost: Tensor, generator: Randomness) -> Tensor:
        n, scaled = len(cost), -cost / max(self.entropy * float(cost.mean()), 1e-300)
        f, g = torch.zeros(n, dtype=cost.dtype, device="cpu"), torch.zeros(n, dtype=cost.dtype, device="cpu")
        for _ in range(self.iterations):
            f = -torch.logsumexp(scaled + g, 1)
            g = -torch.logsumexp(scaled + f[:, None], 0)
        edges = torch.softmax(scaled + g, 1).cumsum(1)
        u = uniforms(n, generator) * edges[:, -1]
        return torch.searchsorted(edges, u[:, None], right=True)[:, 0].clamp(max=n - 1)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """`(n, n)`, float64 on the CPU."""
    a, b = a.flatten(1).double().cpu(), b.flatten(1).double().cpu()
    return torch.cdist(a, b).square()
