"""The loss at each noise level: which part of the range is learned, and which is not.

    count_b <- min(count_b + n, memory),    mean_b <- mean_b + (n / count_b) (mean of the n new losses in b - mean_b)

in bins b of log(sigma / alpha): a plain mean until `memory` losses have come, an exponential one from there on.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class LossByLevel:
    """A running mean of the loss in bins of log(sigma / alpha), the latest `memory` samples of each bin counting most.

    Bins are half a unit wide (a factor of 1.65 in sigma / alpha) from -8 to 8; what lies outside counts in the last.
    """

    LOW, HIGH, WIDTH = -8.0, 8.0, 0.5

    def __init__(self, memory: int = 5000) -> None:
        bins = round((self.HIGH - self.LOW) / self.WIDTH)
        self.memory = memory
        self.count, self.mean = (
            torch.zeros(bins, dtype=torch.float64, device="cpu"),
            torch.zeros(bins, dtype=torch.float64, device="cpu"),
        )

    def update(self, log_s: Tensor, loss: Tensor) -> None:
        """Takes in a batch: log(sigma / alpha) and the loss of each sample, `(B,)`; what is not finite is left out."""
        finite = loss.isfinite()  # one NaN would stay in its bin for good
        log_s, loss = log_s[finite], loss[finite]
        # clamped while a float: an infinity, of t = 0 or 1, has no integer
        place = ((log_s - self.LOW) / self.WIDTH).clamp(0, len(self.count) - 1).long()
        n = torch.zeros_like(self.count).index_add_(0, place, torch.ones_like(loss, dtype=torch.float64))
        total = torch.zeros_like(self.mean).index_add_(0, place, loss.double())
        self.count = torch.clamp(self.count + n, max=self.memory)
        share = torch.where(n > 0, n / self.count.clamp(min=1), 0.0).clamp(max=1)
        self.mean += share * (total / n.clamp(min=1) - self.mean)

    def table(self) -> list[tuple[float, float]]:
        """(sigma / alpha at the middle of the bin, mean loss) of the bins that hold anything."""
        middles = [math.exp(self.LOW + (i + 0.5) * self.WIDTH) for i in range(len(self.count))]
        return [(s, float(m)) for s, m, c in zip(middles, self.mean, self.count, strict=True) if c > 0]

    def state(self) -> dict[str, Any]:
        return {"count": self.count.tolist(), "mean": self.mean.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.count, self.mean = (
            torch.tensor(state[name], dtype=torch.float64, device="cpu") for name in ("count", "mean")
        )
