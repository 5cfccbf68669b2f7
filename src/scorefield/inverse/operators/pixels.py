"""Operators that see some of the entries, or fewer of them: inpainting, downsampling, grey of colour.

    Mask         y = the known entries of x, U = I, s = 1, V^T = the choice of entries
    Greyscale    y = sum_c w_c x_c in each pixel, s = |w|
    Separable    Y = R X C^T on the last two axes; of R = U_R s_R V_R^T and C alike, s = s_R s_C
    Downsample   Separable, by the mean of blocks or by a cubic kernel as wide as the new pixels

References:
    Keys 1981, Cubic convolution interpolation for digital image processing (a = -1/2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators.algebra import broadcast
from scorefield.inverse.operators.base import SVD, LinearOperator, shape_of


class Mask(LinearOperator):
    """The M known entries of x, `(M,)` in the order of the flattened event: unknown ones are not measured at all.

    So each number of y has the same noise, and chi^2 has M degrees of freedom. `adjoint(y)` is the masked image.

    Args:
        known: bool, of a shape that broadcasts to `event_shape`; (1, H, W) for all channels alike.
        event_shape: that of `known` unless given.

    Raises:
        ValueError: for a mask that is not bool, of another shape, or with nothing known.
    """

    def __init__(self, known: Tensor, event_shape: Sequence[int] | None = None) -> None:
        if known.dtype != torch.bool:
            raise ValueError(f"known must be bool, True where x is known; got {known.dtype}")
        self.event_shape = tuple(known.shape if event_shape is None else event_shape)
        self.known = broadcast("known", known, self.event_shape)
        index = self.known.flatten().nonzero().squeeze(1)
        if len(index) == 0:
            raise ValueError("known must be True somewhere")
        self._index, self.output_shape = Buffer(index), (len(index),)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).index_select(1, self._index.like(x))

    def adjoint(self, y: Tensor) -> Tensor:
        zeros = y.new_zeros(len(y), math.prod(self.event_shape))
        return zeros.index_add(1, self._index.like(y), y).reshape(len(y), *self.event_shape)

    def svd(self) -> SVD:
        ones = torch.ones(self.output_shape, dtype=torch.float64, device="cpu")
        return SVD(ones, self.forward, self.adjoint, lambda y: y, lambda c: c)


class Greyscale(LinearOperator):
    """Luminance `(1, H, W)` of colour `(C, H, W)`: sum_c w_c x_c. To invert it is to colourise.

    Args:
        weights: one for each channel; of red, green and blue those of ITU-R BT.601 unless given.

    Raises:
        ValueError: for as many weights as there are no channels.
    """

    def __init__(
        self, event_shape: Sequence[int] = (3, 32, 32), weights: Sequence[float] = (0.299, 0.587, 0.114)
    ) -> None:
        self.event_shape = shape_of(type(self).__name__, event_shape)
        if len(self.event_shape) < 2 or self.event_shape[0] != len(weights) or not any(weights):
            raise ValueError(
                f"Greyscale: event_shape must begin with the {len(weights)} channels that weights has; "
                f"got {self.event_shape}"
            )
        self.output_shape = (1, *self.event_shape[1:])
        self.weights = tuple(map(float, weights))

    def forward(self, x: Tensor) -> Tensor:
        return self._weighted(x, self.weights)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._spread(y, self.weights)

    def svd(self) -> SVD:
        norm = math.hypot(*self.weights)
        unit = tuple(w / norm for w in self.weights)
        pixels = math.prod(self.output_shape)
        shaped = lambda c: c.reshape(len(c), *self.output_shape)  # noqa: E731
        return SVD(
            torch.full((pixels,), norm, dtype=torch.float64, device="cpu"),
            lambda x: self._weighted(x, unit).flatten(1),
            lambda c: self._spread(shaped(c), unit),
            lambda y: y.flatten(1),
            shaped,
        )

    def _weighted(self, x: Tensor, weights: tuple[float, ...]) -> Tensor:
        parts = [w * channel for w, channel in zip(weights, x.unbind(1), strict=True)]
        return sum(parts[1:], parts[0])[:, None]

    def _spread(self, y: Tensor, weights: tuple[float, ...]) -> Tensor:
        return torch.cat([w * y for w in weights], 1)


class Separable(LinearOperator):
    """Y = R X C^T of the last two axes: `(..., H, W)` to `(..., h, w)`.

    Args:
        rows: R `(h, H)`.
        columns: C `(w, W)`.
        event_shape: (..., H, W).

    Raises:
        ValueError: for matrices that do not fit.
    """

    def __init__(self, rows: Tensor, columns: Tensor, event_shape: Sequence[int]) -> None:
        shape = shape_of(type(self).__name__, event_shape)
        if rows.ndim != 2 or columns.ndim != 2 or shape[-2:] != (rows.shape[1], columns.shape[1]):
            raise ValueError(
                f"rows and columns must be (h, H) and (w, W) for event_shape (..., H, W); "
                f"got {tuple(rows.shape)}, {tuple(columns.shape)} and {shape}"
            )
        self.event_shape, self.output_shape = shape, (*shape[:-2], len(rows), len(columns))
        self.rows, self.columns = rows.detach().double(), columns.detach().double()
        self._maps = [Buffer(m.contiguous()) for m in (self.rows, self.columns.T, self.rows.T, self.columns)]

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (m.like(x) for m in self._maps[:2])
        return rows @ (x @ columns)

    def adjoint(self, y: Tensor) -> Tensor:
        rows, columns = (m.like(y) for m in self._maps[2:])
        return rows @ (y @ columns)

    def svd(self) -> SVD:
        (ur, sr, vr), (uc, sc, vc) = (torch.linalg.svd(m, full_matrices=False) for m in (self.rows, self.columns))
        lead, k = self.event_shape[:-2], (len(sr), len(sc))
        s = (sr[:, None] * sc).expand(*lead, *k).flatten()
        right = Separable(vr, vc, self.event_shape)
        left = Separable(ur.T, uc.T, self.output_shape)
        shaped = lambda c: c.reshape(len(c), *lead, *k)  # noqa: E731
        return SVD(
            s,
            lambda x: right.forward(x).flatten(1),
            lambda c: right.adjoint(shaped(c)),
            lambda y: left.forward(y).flatten(1),
            lambda c: left.adjoint(shaped(c)),
        )


class Downsample(Separable):
    """Every `factor` pixels of the last two axes become one: super-resolution's forward model.

    "average" is the mean of the block, a detector's; "bicubic" a cubic kernel stretched by the factor, so that it does
    not alias, and cut off and normalised at the border: what image libraries call antialiased resizing.

    Raises:
        ValueError: unless H and W are multiples of the factor.
    """

    def __init__(
        self, factor: int, event_shape: Sequence[int], kernel: Literal["average", "bicubic"] = "average"
    ) -> None:
        shape = shape_of(type(self).__name__, event_shape)
        if factor < 1 or len(shape) < 2 or any(n % factor for n in shape[-2:]):
            raise ValueError(f"Downsample: H and W must be multiples of the factor {factor}; got {shape}")
        if kernel not in ("average", "bicubic"):
            raise ValueError(f"Downsample: kernel must be 'average' or 'bicubic'; got {kernel!r}")
        make = _block_means if kernel == "average" else _cubic_means
        super().__init__(make(shape[-2], factor), make(shape[-1], factor), shape)
        self.factor, self.kernel = factor, kernel


def _block_means(n: int, factor: int) -> Tensor:
    return torch.eye(n // factor, dtype=torch.float64, device="cpu").repeat_interleave(factor, 1) / factor


def _cubic_means(n: int, factor: int) -> Tensor:
    centre = (torch.arange(n // factor, dtype=torch.float64, device="cpu") + 0.5) * factor - 0.5
    u = ((torch.arange(n, dtype=torch.float64, device="cpu") - centre[:, None]) / factor).abs()
    near, far = 1.5 * u**3 - 2.5 * u**2 + 1, -0.5 * u**3 + 2.5 * u**2 - 4 * u + 2
    weights = torch.where(u <= 1, near, torch.where(u < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)
