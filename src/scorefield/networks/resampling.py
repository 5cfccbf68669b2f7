"""Halving and doubling the resolution, in one and two dimensions and for any size: n -> ceil(n / 2) -> n.

Down is a filter and every second sample of it, up is a filter on the samples with zeros between them. By `kind`:

    nearest   (1, 1)         down: the mean of two;  up: each twice
    fir       (1, 3, 3, 1)   down: sum_k f_k x[2i + k - 1] / 8;  up: 3/4 of the nearest and 1/4 of the next

Both leave constants as they are, at the edges too, where the last value goes on. (1, 3, 3, 1) suppresses the highest
frequency, which folds onto the constant when every second sample is dropped, to third order (Zhang 2019).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
TAPS = {"nearest": (1.0, 1.0), "fir": (1.0, 3.0, 3.0, 1.0)}
_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}
_LINEAR = {1: "linear", 2: "bilinear"}


class Down(nn.Module):
    """`(B, C, *n)` to `(B, C, *ceil(n / 2))`."""

    kernel: Tensor

    def __init__(self, dims: int, kind: str = "nearest") -> None:
        super().__init__()
        self.dims, taps = dims, torch.tensor(TAPS[kind], dtype=torch.float64)
        kernel = taps / taps.sum()
        for _ in range(dims - 1):
            kernel = kernel[..., None] * taps / taps.sum()
        self.margin = len(taps) // 2 - 1
        self.register_buffer("kernel", kernel.float(), persistent=False)  # exact: taps over powers of two

    def forward(self, x: Tensor) -> Tensor:
        margins = [(self.margin, self.margin + n % 2) for n in reversed(x.shape[2:])]
        x = F.pad(x, list(itertools.chain(*margins)), mode="replicate")
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, *self.kernel.shape)
        return _CONVOLVE[self.dims](x, kernel, stride=2, groups=x.shape[1])


class Up(nn.Module):
    """`(B, C, *ceil(n / 2))` to `(B, C, *n)`, `n` being the `size` asked for."""

    def __init__(self, dims: int, kind: str = "nearest") -> None:
        super().__init__()
        # (1, 3, 3, 1) / 4 between zeros is linear interpolation at the quarters, which torch has a kernel for.
        self.options: dict[str, Any] = (
            {"mode": _LINEAR[dims], "align_corners": False} if kind == "fir" else {"mode": "nearest"}
        )

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return crop(F.interpolate(x, scale_factor=2, **self.options), size)


def fold(x: Tensor, patch: int) -> Tensor:
    """Cells of `patch` pixels a side into channels: `(B, C, *n)` to `(B, C patch^dims, *(n / patch))`."""
    split = [m for n in x.shape[2:] for m in (n // patch, patch)]  # torch's pixel_unshuffle refuses an empty batch
    dims = x.ndim - 2
    order = (0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    channels = x.shape[1] * patch**dims
    return x.reshape(*x.shape[:2], *split).permute(order).reshape(x.shape[0], channels, *split[::2])


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`."""
    dims, channels = x.ndim - 2, x.shape[1] // patch ** (x.ndim - 2)
    order = (0, 1, *(i for d in range(dims) for i in (2 + dims + d, 2 + d)))
    apart = x.reshape(x.shape[0], channels, *(patch,) * dims, *x.shape[2:]).permute(order)
    return apart.reshape(x.shape[0], channels, *(n * patch for n in x.shape[2:]))


def pad_to(x: Tensor, patch: int) -> Tensor:
    """`x` with zeros after it, to multiples of `patch`."""
    return F.pad(x, [m for n in reversed(x.shape[2:]) for m in (0, -n % patch)])


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first `size` of each spatial axis."""
    return x[(..., *(slice(n) for n in size))]
