"""Pools of pairs (x0, x1) for a flow: what a `losses.Coupling` makes of the data and of draws of the origin.

Pool k holds `size` pairs and serves the samples at positions k size reuse .. (k + 1) size reuse - 1 of the run: `reuse`
rounds, each pair once in each, in an order of its own. Its data are the next `size` of the run's own order of the data.
All of it is a function of (seed, k): the same in one process and in several, stopped or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.data import Source
from scorefield.distributions import Distribution
from scorefield.losses.couplings import Coupling
from scorefield.randomness import Stream, randn_like
from scorefield.tensors import as_tensor
from scorefield.training import batches

KEPT = 2  # pools: a batch may begin in one and end in the next


class Pool(NamedTuple):
    x0: Tensor  # (n, *event), in the model's units
    x1: Tensor
    cond: dict[str, Tensor]


class Pairs:
    """The pairs of a run.

    Args:
        prepare: raw data and a Stream to the model's units.
    """

    def __init__(
        self,
        coupling: Coupling,
        source: Source,
        origin: Distribution | None,
        prepare: Callable[[Tensor, Stream], Tensor],
    ) -> None:
        self.coupling, self.source, self.origin, self.prepare = coupling, source, origin, prepare
        self._pools: dict[tuple[int, int], Pool] = {}

    def at(self, positions: Tensor, seed: int) -> Pool:
        """The pairs of the samples at these positions of the run."""
        size, served = self.coupling.size, self.coupling.size * self.coupling.reuse
        parts, number = [], torch.div(positions, served, rounding_mode="floor")
        for k in torch.unique_consecutive(number).tolist():
            within = positions[number == k] - k * served
            pool, slots = self.pool(k, seed), batches.rows(size, within, batches.derived_seed(seed, k, 1))
            parts.append((pool.x0[slots], pool.x1[slots], {name: v[slots] for name, v in pool.cond.items()}))
        x0, x1 = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        return Pool(x0, x1, {name: torch.cat([part[2][name] for part in parts]) for name in parts[0][2]})

    def pool(self, k: int, seed: int) -> Pool:
        """The k-th pool."""
        if (k, seed) not in self._pools:
            self._pools[k, seed] = self._made(k, seed)
            while len(self._pools) > KEPT:
                del self._pools[next(iter(self._pools))]
        return self._pools[k, seed]

    def _made(self, k: int, seed: int) -> Pool:
        index = torch.arange(k * self.coupling.size, (k + 1) * self.coupling.size, device="cpu")
        raw, cond = self.source.batch(batches.rows(len(self.source), index, seed))
        draws = Stream(batches.derived_seed(seed, 2), index)
        x0 = self.prepare(raw, draws)
        x1 = randn_like(x0, draws) if self.origin is None else self.origin.sample(len(x0), generator=draws).to(x0)
        held: Mapping[str, Tensor] = {name: as_tensor(v) for name, v in cond.items()}
        return Pool(*self.coupling.pair(x0, x1, held, draws), dict(held))
