"""Predictions kept in the range of the data.

The mean of data in [low, high] lies in [low, high], whatever the noise. A network's prediction need not: where a
sample has strayed too far for it to know, it extrapolates, and drives the sample on. With c and h the middle and half
the width of the range,

    static      D' = c + h clip((D - c) / h, -1, 1)
    dynamic     D' = c + h clip((D - c) / h, -a, a) / a,    a = max(1, the q-quantile of |D - c| / h over the sample).

Guidance with a large weight pushes many entries over the edge at once: there the static clip saturates pictures, and
the dynamic one draws all entries in, by as much as those few ask for.

References:
    Ho et al. 2020, Denoising diffusion probabilistic models (their samplers clip).
    Saharia et al. 2022, Photorealistic text-to-image diffusion models with deep language understanding, section 2.3.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from scorefield.denoisers.base import Denoiser
from scorefield.schedules import pad_right


class ClippedDenoiser(Denoiser):
    """A denoiser whose predictions are clipped to the range of the data; elsewhere it is the one it wraps, to the bit.

    For pictures, whose range is known: `data_range` of a checkpoint's denoiser is that of its transform. Tables and
    exact laws have none, and to give them one cuts their tails off. Its score is that of no density where it clips.

    Args:
        denoiser: any, guided ones too.
        data_range: (low, high), model units; the denoiser's own unless given.
        dynamic: q in (0, 1), the share of a sample's entries that dynamic thresholding lets in, the nearest rank: 0.995
            for guided pictures; None for the static clip.

    Raises:
        ValueError: for a range that is not known, not finite or empty, or a q outside (0, 1).
    """

    def __init__(
        self, denoiser: Denoiser, data_range: tuple[float, float] | None = None, *, dynamic: float | None = None
    ) -> None:
        super().__init__()
        known = denoiser.data_range if data_range is None else data_range
        if known is None:
            raise ValueError("data_range is not known of this denoiser: give (low, high), model units")
        low, high = known
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"data_range must be (low, high), finite, low below high; got {known}")
        if dynamic is not None and not 0 < dynamic < 1:
            raise ValueError(f"dynamic must lie in (0, 1), a quantile, or None; got {dynamic}")
        self.denoiser, self.dynamic = denoiser, dynamic
        self._like(denoiser)
        self.data_range = self._range = (low, high)

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        (low, high), x0 = self._range, self.denoiser(x_t, t, **cond)
        if self.dynamic is None or not x0.numel():
            return x0.clamp(low, high)
        middle, half = (low + high) / 2, (high - low) / 2
        size = ((x0 - middle) / half).abs().flatten(1)
        rank = max(1, math.ceil(self.dynamic * size.shape[1]))
        edge = pad_right(size.kthvalue(rank, 1).values.clamp(min=1.0), x0)
        drawn_in = middle + half * ((x0 - middle) / half).clamp(-edge, edge) / edge
        return drawn_in.where(edge > 1, x0.clamp(low, high))
