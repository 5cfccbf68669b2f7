"""Phase retrieval: the modulus of the Fourier transform, as in diffraction imaging and ptychography.

    y = |F P x|,   P pads with zeros to H' x W',   F_kn = exp(-2 pi i (k_1 n_1 / H' + k_2 n_2 / W')) / sqrt(H' W')

A detector counts photons, y^2, and loses the phase. x, -x, x shifted within the padding and x turned by 180 degrees
give the same y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from scorefield.inverse.operators._function import takes_empty
from scorefield.inverse.operators.base import Operator, shape_of


class PhaseRetrieval(Operator):
    """|F x| of the last two axes, x padded with zeros to `oversampling` times its sides: `(..., H', W')`, real.

    F is orthonormal on the padded grid, so sum y^2 = sum x^2. Not changed by a sign, by x reversed, nor, within the
    padding, by a shift: posteriors are as symmetric as the prior lets them be. `LaplaceBridge` knows
    of the sign; of reversals and shifts its particles may follow some. Where y = 0 the derivative is set to 0.

    Args:
        event_shape: (..., H, W), real.
        oversampling: 2 determines x up to these symmetries, for almost all x (Hayes 1982).

    Raises:
        ValueError: for fewer than two axes, or an oversampling below 1.

    References:
        Fienup 1982, Phase retrieval algorithms: a comparison.
    """

    def __init__(self, event_shape: Sequence[int], oversampling: float = 2.0) -> None:
        shape = shape_of(type(self).__name__, event_shape)
        if len(shape) < 2 or not 1 <= oversampling < math.inf:
            raise ValueError(
                f"PhaseRetrieval: event_shape must be (..., H, W), oversampling at least 1; got {shape}, {oversampling}"
            )
        self.oversampling, self._size = oversampling, tuple(math.ceil(n * oversampling) for n in shape[-2:])
        self.event_shape, self.output_shape = shape, (*shape[:-2], *self._size)

    @takes_empty
    def forward(self, x: Tensor) -> Tensor:
        (h, w), (rows, columns) = self.event_shape[-2:], self._size
        padded = functional.pad(x, (0, columns - w, 0, rows - h))
        return torch.fft.fft2(padded, norm="ortho").abs()
