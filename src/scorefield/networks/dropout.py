"""Dropout whose mask is a function of (seed, sample, layer): the same in any batch, order, process or device.

    y = m x / (1 - p),    m_i = 1 if u_i >= p else 0,    u = Noise(seed, index).uniform(layer)

With a seed for each step of training and the sample's number in that step's global batch as its index, one process and
several drop the same units, and a run that is resumed drops those of one that never stopped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.randomness import Noise


class Dropout(nn.Module):
    """Zeroes each entry with probability `p` while training, and scales the others by 1 / (1 - p).

    Until `set_dropout` says which samples a batch holds, the masks come from torch's global generator.

    Raises:
        ValueError: for a p outside [0, 1); when called, for a batch of another size than `set_dropout` was told.

    References:
        Srivastava et al. 2014.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {p}")
        self.p = p
        self.number = 0  # among the module's layers
        self.key: tuple[int, Tensor] | None = None  # seed, index (B,)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.key is None:
            return F.dropout(x, self.p)
        seed, index = self.key
        if len(index) != len(x):
            raise ValueError(f"set_dropout was given {len(index)} samples; got a batch of {len(x)}")
        kept = Noise(seed, index.to(x.device), tuple(x.shape[1:])).uniform(self.number) >= self.p
        return torch.where(kept, x / (1 - self.p), 0)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def set_dropout(module: nn.Module, seed: int, index: Tensor) -> None:
    """Says which samples the next batches of `module` hold: its `Dropout` layers draw masks from (seed, index, layer).

    Args:
        module: every `Dropout` in it is numbered, in the order of `module.modules()`.
        seed: in [0, 2^64); another for each step.
        index: `(B,)` int64, the samples' numbers in the global batch.
    """
    Noise(seed, index, ())  # refuses what it could not draw from
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout)]
    for number, layer in enumerate(layers):
        layer.number, layer.key = number, (seed, index)
