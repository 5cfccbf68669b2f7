"""JPEG compression as a measurement: the decoded image.

    y = D^T Q round(Q^-1 D x),    D the cosine transform of 8 x 8 blocks, Q the table of steps for a quality.

The rounding's derivative is taken to be 1 (straight through: Bengio et al. 2013), so the Jacobian that a sampler sees
is the identity on grey images. Entropy coding loses nothing and is left out; the result is not rounded or clipped.

References:
    ITU-T T.81 (1992), annex K for the tables. ITU-T T.871 (JFIF) for the colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators._function import takes_empty
from scorefield.inverse.operators.base import Operator, shape_of

_LUMINANCE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""
_YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]],
    dtype=torch.float64,
    device="cpu",
)


class JPEG(Operator):
    """An image after compression, same shape and units; nonlinear.

    Args:
        event_shape: (1, H, W) or (H, W), grey; (3, H, W), red, green, blue. Sides that are not multiples of a block are
            continued by their last pixel, and cut off again.
        quality: 1 to 100, on the scale of the Independent JPEG Group.
        white: the value of x that is 255; black is 0.
        subsample: whether colour differences are kept in half the resolution (4:2:0), as most programs do.

    Raises:
        ValueError: for another number of channels or a quality outside 1 .. 100.
    """

    def __init__(
        self, event_shape: Sequence[int], quality: int = 50, *, white: float = 1.0, subsample: bool = True
    ) -> None:
        shape = shape_of(type(self).__name__, event_shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)):
            raise ValueError(f"JPEG: event_shape must be (H, W), (1, H, W) or (3, H, W); got {shape}")
        if not 1 <= quality <= 100 or not white > 0:
            raise ValueError(f"JPEG: quality must lie in 1 .. 100, white be positive; got {quality} and {white}")
        self.event_shape = self.output_shape = shape
        self.quality, self.white, self.subsample = quality, white, subsample
        percent = 5000 // quality if quality < 50 else 200 - 2 * quality
        self._steps = [
            Buffer(
                ((torch.tensor([int(s) for s in table.split()], device="cpu") * percent + 50) // 100)
                .clamp(1, 255)
                .double()
            )
            for table in (_LUMINANCE, _CHROMINANCE)
        ]
        k = torch.arange(8, dtype=torch.float64, device="cpu")
        cosines = torch.cos(math.pi * k[:, None] * (2 * k + 1) / 16) / 2
        cosines[0] /= math.sqrt(2)
        self._cosines, self._ycbcr, self._rgb = Buffer(cosines), Buffer(_YCBCR), Buffer(torch.linalg.inv(_YCBCR))

    @takes_empty
    def forward(self, x: Tensor) -> Tensor:
        image = x.reshape(len(x), -1, *self.event_shape[-2:]) * (255 / self.white)
        if image.shape[1] == 1:
            decoded = self._compress(image - 128, self._steps[0]) + 128
        else:
            luma, chroma = _mixed(self._ycbcr.like(x), image).split([1, 2], 1)
            luma = self._compress(luma - 128, self._steps[0]) + 128
            decoded = _mixed(self._rgb.like(x), torch.cat([luma, self._chroma(chroma)], 1))
        return decoded.reshape(x.shape) * (self.white / 255)

    def _chroma(self, chroma: Tensor) -> Tensor:
        if not self.subsample:
            return self._compress(chroma, self._steps[1])
        h, w = chroma.shape[-2:]
        even = functional.pad(chroma, (0, w % 2, 0, h % 2), mode="replicate")
        small = self._compress(functional.avg_pool2d(even, 2), self._steps[1])
        return small.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., :h, :w]

    def _compress(self, x: Tensor, steps: Buffer) -> Tensor:
        """`(B, C, H, W)` about 0, through quantised blocks."""
        h, w = x.shape[-2:]
        padded = functional.pad(x, (0, -w % 8, 0, -h % 8), mode="replicate")
        blocks = padded.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
        d, q = self._cosines.like(x), steps.like(x).reshape(8, 8)
        scaled = d @ blocks @ d.T / q
        quantised = scaled + (scaled.round() - scaled).detach()
        decoded = (d.T @ (quantised * q) @ d).transpose(-3, -2).flatten(-2).flatten(-3, -2)
        return decoded[..., :h, :w]


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix` on the channels."""
    return torch.einsum("ij,bjhw->bihw", matrix, x)
