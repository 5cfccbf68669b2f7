"""What is said of draws of several posteriors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Summary(NamedTuple):
    """Of draws `(B, n, D)`, each `(B, D)`."""

    mean: Tensor
    std: Tensor
    low: Tensor  # of the central interval
    high: Tensor


def summarised(theta: Tensor, level: float = 0.9) -> Summary:
    """Of `theta` `(B, n, D)`, n at least 2."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=theta.device)
    low, high = torch.quantile(theta.double(), ends, dim=1)
    return Summary(theta.double().mean(1), theta.double().std(1), low, high)
