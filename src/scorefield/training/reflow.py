"""Reflow: a flow trained on the pairs that another one makes, which straightens its paths (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.losses.couplings import Coupling
from scorefield.randomness import Randomness
from scorefield.sampling import sample


@dataclass(frozen=True)
class Reflow(Coupling):
    """Pairs (x0, x1), x1 a draw of the origin and x0 where the teacher's ODE brings it; the data's own x0 are not used.

    What the teacher errs the new flow learns. Give the conditions to a teacher that takes them.

    Args:
        teacher: a `Flow` from the same origin, or any denoiser, which starts from noise.
        nfe: of each x0.

    Raises:
        ValueError: as `Coupling`; without a teacher.
    """

    teacher: Denoiser | None = None
    nfe: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is None:
            raise ValueError("Reflow: teacher must be the denoiser that makes the pairs; got None")

    def plan(self, cost: Tensor, generator: Randomness) -> Tensor:
        """As they come: pairs are made, not matched."""
        return torch.arange(len(cost), device="cpu")

    def pair(
        self, x0: Tensor, x1: Tensor, cond: Mapping[str, Any] | None = None, generator: Randomness = None
    ) -> tuple[Tensor, Tensor]:
        teacher = self.teacher
        assert teacher is not None
        start = x1
        if teacher.origin is None:
            mean, std = teacher.prior(1.0)
            start = std * x1 + (mean.to(x1) if isinstance(mean, Tensor) else mean)
        own = next(iter(teacher.parameters()), x1)
        made = sample(teacher, start.to(own), nfe=self.nfe, cond={n: v.to(own.device) for n, v in (cond or {}).items()})
        return made.x.to(x0), x1
