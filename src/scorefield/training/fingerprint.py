"""What tells data from others of the same shape: some rows, in plain values that a checkpoint keeps.

Rows of whole numbers, and pictures by their files, are known by a hash. Continuous ones may be computed (a law's
draws), and differ in the last bit between processors, so of these a few weighted means are kept, which `record`
compares to rounding: with fixed signs w,

    2 + sum_i w_i x_i / sum_i |x_i|,    in [1, 3].

It costs `ROWS` data at the start of a run, whatever there are. Rows that are not among them may differ unseen, unless
the transform's statistics or the number of rows show it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorefield.data import Source, row_keys

ROWS = 256  # evenly spread, the first and the last among them
MEANS = 4


def of(source: Source) -> dict[str, Any]:
    """By name, for a record; empty for data that are another at each reading, as an augmented data set's are."""
    count = min(ROWS, len(source))
    rows = torch.linspace(0, len(source) - 1, count, dtype=torch.float64, device="cpu").long()
    x, cond = source.batch(rows)
    known_by_file = getattr(source, "row_keys", None) is not None and source.levels is not None
    if not known_by_file and not torch.equal(x, source.batch(rows).x):
        return {}
    parts = {"rows": row_keys(source, rows).tobytes() if source.levels is not None else x}
    parts |= {name: torch.as_tensor(value, device="cpu") for name, value in cond.items()}
    return {name: _known_by(value) for name, value in parts.items()}


def _known_by(value: bytes | Tensor) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.is_floating_point():
            return _means(value.double().numpy().ravel())
        value = np.ascontiguousarray(value.to(torch.int64).numpy()).tobytes()
    return hashlib.blake2b(value, digest_size=8).hexdigest()


def _means(x: np.ndarray) -> list[float]:
    place = np.arange(MEANS * len(x), dtype=np.uint64).reshape(MEANS, -1)
    mixed = (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64, whose top bits are as good as coins
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    signs = np.where((mixed >> np.uint64(63)).astype(bool), 1.0, -1.0)
    return (2 + signs @ x / max(float(np.abs(x).sum()), np.finfo(np.float64).tiny)).tolist()
