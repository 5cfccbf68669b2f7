"""Convolution with a known kernel.

    y(n) = sum_m k(m) x(n - m),    m = 0 at the kernel's middle, entry size // 2 along each axis.

On a circle the Fourier transform diagonalises it, k^ = F k. In Hartley's real orthonormal basis, c = (Re F - Im F) x,
which is its own inverse, that is the singular value decomposition: s = |k^|, V the Hartley transform, and U = V behind
the all-pass filter k^ / |k^|.

References:
    Hartley 1942; Bracewell 1983, Discrete Hartley transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators._function import takes_empty
from scorefield.inverse.operators.base import SVD, LinearOperator, shape_of
from scorefield.tensors import as_tensor

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Blur(LinearOperator):
    """k * x along the last axes, as many as the kernel has; same shape.

    Args:
        kernel: `(k,)`, `(k, l)` or `(k, l, m)`; taken as it is, so it should add up to 1 to keep the mean.
        event_shape: (..., H, W); the axes before those of the kernel are blurred one by one.
        padding: what x is beyond its border: "circular", itself again; "reflect", its mirror image about the last
            pixel; "zero". Circular blur is done, and inverted, by Fourier transform.

    Raises:
        ValueError: for a kernel that is not finite or has more axes than x; with "reflect", one wider than two images.
    """

    def __init__(
        self, kernel: Tensor, event_shape: Sequence[int], padding: Literal["circular", "reflect", "zero"] = "circular"
    ) -> None:
        kernel = as_tensor(kernel).detach().double()
        shape = shape_of(type(self).__name__, event_shape)
        if not 1 <= kernel.ndim <= min(3, len(shape)) or kernel.numel() == 0 or not bool(kernel.isfinite().all()):
            raise ValueError(
                f"Blur: kernel must be finite, with 1 to {min(3, len(shape))} axes; got shape {tuple(kernel.shape)}"
            )
        if padding not in ("circular", "reflect", "zero"):
            raise ValueError(f"Blur: padding must be 'circular', 'reflect' or 'zero'; got {padding!r}")
        self.kernel, self.padding = kernel, padding
        self.event_shape = self.output_shape = shape
        self._dims = tuple(range(-kernel.ndim, 0))
        self._size = shape[-kernel.ndim :]
        if padding == "circular":
            self._gain = Buffer(torch.fft.rfftn(_wrapped(kernel, self._size)))
        else:
            self._flipped = Buffer(kernel.flip(self._dims)[None, None])
            self._borders = [_Border(n, k, padding) for n, k in zip(self._size, kernel.shape, strict=True)]

    @takes_empty
    def forward(self, x: Tensor) -> Tensor:
        if self.padding == "circular":
            return self._filter(x, self._gain.like(x))
        for dim, border in zip(self._dims, self._borders, strict=True):
            x = border.extend(x, dim)
        flat = x.reshape(-1, 1, *x.shape[-self.kernel.ndim :])
        return _CONV[self.kernel.ndim](flat, self._flipped.like(x)).reshape(len(x), *self.output_shape)

    @takes_empty
    def adjoint(self, y: Tensor) -> Tensor:
        if self.padding == "circular":
            return self._filter(y, self._gain.like(y).conj())
        flat = y.reshape(-1, 1, *self._size)
        weights = self._flipped.like(y).flip(self._dims)
        around = [k - 1 for k in reversed(self.kernel.shape) for _ in range(2)]
        x = _CONV[self.kernel.ndim](functional.pad(flat, around), weights)
        x = x.reshape(len(y), *self.event_shape[: -self.kernel.ndim], *x.shape[-self.kernel.ndim :])
        for dim, border in zip(self._dims, self._borders, strict=True):
            x = border.fold(x, dim)
        return x

    def svd(self) -> SVD | None:
        """Of the circular blur."""
        if self.padding != "circular":
            return None
        spectrum = torch.fft.fftn(_wrapped(self.kernel, self._size)).abs().expand(self.event_shape).flatten()
        gain = self._gain.tensor
        phase = Buffer(torch.where(gain.abs() > 0, gain / gain.abs(), 1.0))
        shaped = lambda c: hartley(c.reshape(len(c), *self.event_shape), self._dims)  # noqa: E731
        return SVD(
            spectrum,
            lambda x: hartley(x, self._dims).flatten(1),
            shaped,
            lambda y: hartley(self._filter(y, phase.like(y).conj()), self._dims).flatten(1),
            lambda c: self._filter(shaped(c), phase.like(c)),
        )

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=self._dims) * gain, self._size, dim=self._dims)


def gaussian_kernel(std: float, size: int | None = None, *, axes: int = 2) -> Tensor:
    """exp(-|m|^2 / (2 std^2)) on an odd grid, normalised, float64; `size` covers 4 std on either side unless given.

    Raises:
        ValueError: for a std that is not positive, or an even size.
    """
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive; got {std}")
    size = 2 * math.ceil(4 * std) + 1 if size is None else size
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be odd, for the middle to be a pixel; got {size}")
    g = torch.exp(-((torch.arange(size, dtype=torch.float64, device="cpu") - size // 2) ** 2) / (2 * std**2))
    kernel = g
    for _ in range(axes - 1):
        kernel = kernel[..., None] * g
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """A straight line of `length` pixels at `angle` (radians, from the x axis towards y, up), normalised, float64.

    The line is sampled 32 times a pixel, and each sample shared by the four pixels around it in proportion.

    Raises:
        ValueError: for a length that is not positive.
    """
    if not 0 < length < math.inf:
        raise ValueError(f"length must be positive; got {length}")
    half = math.ceil(length / 2)
    n = max(math.ceil(32 * length), 2)
    along = ((torch.arange(n, dtype=torch.float64, device="cpu") + 0.5) / n - 0.5) * length
    x, y = half + along * math.cos(angle), half - along * math.sin(angle)
    size = 2 * half + 2
    kernel = torch.zeros(size, size, dtype=torch.float64, device="cpu")
    i, j = y.floor().long(), x.floor().long()
    fy, fx = y - i, x - j
    for di, wy in ((0, 1 - fy), (1, fy)):
        for dj, wx in ((0, 1 - fx), (1, fx)):
            kernel.index_put_((i + di, j + dj), wy * wx, accumulate=True)
    return kernel[:-1, :-1] / kernel.sum()  # the last row and column were for rounding


def hartley(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """(Re F - Im F) x along `dims`, orthonormal and its own inverse."""
    spectrum = torch.fft.fftn(x, dim=dims, norm="ortho")
    return spectrum.real - spectrum.imag


def _wrapped(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """The kernel on the circle of that size, its middle at 0."""
    whole = torch.zeros(size, dtype=kernel.dtype, device="cpu")
    index = torch.meshgrid(
        *[(torch.arange(k, device="cpu") - k // 2) % n for k, n in zip(kernel.shape, size, strict=True)], indexing="ij"
    )
    return whole.index_put(index, kernel, accumulate=True)


class _Border:
    """What lies beyond an axis of n entries, for a kernel of k: the extended axis is axis[index]."""

    def __init__(self, n: int, k: int, padding: str) -> None:
        before, after = k - 1 - k // 2, k // 2
        index = torch.arange(-before, n + after, device="cpu")
        self.n, self.pad = n, (before, after)
        if padding == "zero":
            self.index = None
            return
        if n < 2 or max(before, after) > n - 1:
            raise ValueError(f"Blur: 'reflect' needs a kernel of at most {2 * n - 1} along an axis of {n}; got {k}")
        self.index = Buffer((n - 1) - (index.abs() - (n - 1)).abs())

    def extend(self, x: Tensor, dim: int) -> Tensor:
        if self.index is None:
            return functional.pad(x, [0, 0] * (-dim - 1) + list(self.pad))
        return x.index_select(dim, self.index.like(x))

    def fold(self, y: Tensor, dim: int) -> Tensor:
        if self.index is None:
            return y.narrow(dim, self.pad[0], self.n)
        shape = list(y.shape)
        shape[dim] = self.n
        return y.new_zeros(shape).index_add(dim, self.index.like(y), y)
