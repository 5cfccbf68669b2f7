"""Which data a step sees, as a function of (seed, step): the same in one process and in several, stopped or not.

Positions count the samples a run has seen: step k of batch size B holds positions k B .. (k + 1) B - 1. Epoch e is the
permutation of the N data drawn from (seed, e), so position p is datum order_e[p - e N], e = p // N. All noise of a step
is keyed by position too.
"""

from __future__ import annotations

import functools
import operator

import numpy as np
import torch
from torch import Tensor


def derived_seed(*key: int) -> int:
    """A well-mixed seed in [0, 2^63) from several integers."""
    return _mixed(tuple(operator.index(k) % 2**64 for k in key))


@functools.lru_cache(maxsize=1024)  # a step asks for the same few each time
def _mixed(key: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def positions(step: int, batch_size: int, part: int = 0, parts: int = 1) -> Tensor:
    """Positions of the `part`-th of `parts` equal pieces of a step, int64."""
    size = batch_size // parts
    return torch.arange(size, device="cpu") + (step * batch_size + part * size)


def rows(n: int, positions: Tensor, seed: int) -> Tensor:
    """The data, 0 .. n - 1, at consecutive `positions`."""
    start, stop = int(positions[0]), int(positions[-1]) + 1
    epochs = range(start // n, (stop - 1) // n + 1)
    return torch.cat([_order(n, seed, e)[max(start - e * n, 0) : stop - e * n] for e in epochs])


@functools.lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(derived_seed(seed, epoch, 2)), device="cpu")
