"""Data to set beside a run's samples: evenly chosen, as the model sees them, with what it is told of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.data import Source


class Some(NamedTuple):
    """Some data, on the CPU."""

    raw: Tensor  # (n, *event), the data's own units
    x: Tensor  # the same in the model's
    cond: dict[str, Tensor]  # all that the source says of them
    label: Tensor | None  # (n,) int64, where they have classes

    def told(self, run: Any) -> dict[str, Tensor]:
        """What the run's network is told of them, if it takes anything."""
        return self.cond if run.conditions else {}


def comparable(n: int, real: int, train: int | None) -> int:
    """How many of n samples to compare with `real` held-out data, for a floor of that size among the `train` others.

    A floor takes as many other real data as there are samples: of few data, few samples are compared.
    """
    return n if train is None else min(n, max(train, real))


def some(run: Any, source: Source, n: int, seed: int) -> Some:
    """At most n of the data, evenly; the noise of dequantisation is a function of (seed, row)."""
    count = min(n, len(source))
    rows = torch.arange(count, device="cpu") * len(source) // count
    raw, cond = source.batch(rows)
    told = {name: torch.as_tensor(value) for name, value in cond.items()}
    label = told.get("label") if source.num_classes is not None else None
    return Some(raw, run.to_model(raw, rows, seed=seed).cpu(), told, label)
