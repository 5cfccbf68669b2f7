"""Areas of strips and pixels: the entries of `Radon`, as a sparse matrix or made anew for each angle.

    A_(theta, d), p = area(strip_d and pixel_p) / w = [F(upper - s_p) - F(lower - s_p)] / w,

s_p = x_p cos(theta) + y_p sin(theta), upper and lower the edges of bin d, w its width, and F(s) the part of a unit
square below the line s; with a = max(|cos|, |sin|), b = min(|cos|, |sin|) and u = |s|

    1 - F(u) = 0                              (a + b)/2 <= u
             = ((a + b)/2 - u)^2 / (2 a b)    (a - b)/2 <= u <= (a + b)/2
             = 1/2 - u / a                    u <= (a - b)/2,              F(-u) = 1 - F(u).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

_BLOCK = 1 << 20  # entries made at a time


class Geometry(NamedTuple):
    height: int
    width: int
    angles: tuple[float, ...]
    detectors: int
    spacing: float

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def bins(self) -> int:
        return len(self.angles) * self.detectors


def entries(g: Geometry, angle: float, rows: slice, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """What the pixels of some image rows give to the bins they touch: bins `(P, K)` int64, shares `(P, K)` float64.

    Shares add up to 1 / w for each pixel inside the detector. A bin that does not exist is bin 0 with share 0.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    a, b = max(abs(cos), abs(sin)), min(abs(cos), abs(sin))
    x = torch.arange(g.width, dtype=torch.float64, device=device) - (g.width - 1) / 2
    y = (g.height - 1) / 2 - torch.arange(rows.start, rows.stop, dtype=torch.float64, device=device)
    s = (x * cos + (y * sin)[:, None]).reshape(-1, 1)
    first = torch.floor((s - (a + b) / 2) / g.spacing + g.detectors / 2)
    k = first + torch.arange(math.floor((a + b) / g.spacing) + 3, device=device)
    below = _area_below((k - g.detectors / 2) * g.spacing - s, a, b)
    bins, share = k[:, :-1].long(), below.diff(dim=1) / g.spacing
    exists = (bins >= 0) & (bins < g.detectors)
    return bins * exists, share * exists


def _area_below(s: Tensor, a: float, b: float) -> Tensor:
    """F(s); no difference of nearly equal numbers, so it is exact to rounding at every angle."""
    u = s.abs()
    tail = ((a + b) / 2 - u).clamp(min=0) ** 2 / (2 * a * b) if b > 0 else torch.zeros_like(u)
    upper = torch.where(u <= (a - b) / 2, 0.5 + u / a, 1 - tail)
    return torch.where(s < 0, 1 - upper, upper)


def matrices(g: Geometry, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A `(bins, pixels)` and A^T, CSR."""
    bins, pixels, shares = [], [], []
    for i, angle in enumerate(g.angles):
        for rows in _row_blocks(g):
            k, share = entries(g, angle, rows)
            p = torch.arange(rows.start * g.width, rows.stop * g.width, device="cpu")[:, None].expand_as(k)
            kept = share > 1e-14
            found = ((i * g.detectors + k)[kept].int(), p[kept].int(), share[kept])
            for parts, part in zip((bins, pixels, shares), found, strict=True):
                parts.append(part)
    i, j, value = torch.cat(bins), torch.cat(pixels), torch.cat(shares).to(dtype)
    forward = compressed(i, j, value, (g.bins, g.pixels), device)
    return forward, compressed(j, i, value, (g.pixels, g.bins), device)


def project(g: Geometry, x: Tensor) -> Tensor:
    """A x without A: `(N, pixels)` to `(N, bins)`."""
    y = x.new_zeros(len(x), len(g.angles), g.detectors)
    for i, angle in enumerate(g.angles):
        for rows in _row_blocks(g):
            bins, share = entries(g, angle, rows, x.device)
            part = x[:, rows.start * g.width : rows.stop * g.width]
            for k, weight in zip(bins.T, share.to(x.dtype).T, strict=True):
                y[:, i].index_add_(1, k, part * weight)
    return y.flatten(1)


def back_project(g: Geometry, y: Tensor) -> Tensor:
    """A^T y without A: `(N, bins)` to `(N, pixels)`."""
    x = y.new_zeros(len(y), g.pixels)
    sinogram = y.unflatten(1, (len(g.angles), g.detectors))
    for i, angle in enumerate(g.angles):
        for rows in _row_blocks(g):
            bins, share = entries(g, angle, rows, y.device)
            part = x[:, rows.start * g.width : rows.stop * g.width]
            for k, weight in zip(bins.T, share.to(y.dtype).T, strict=True):
                part += sinogram[:, i].index_select(1, k) * weight
    return x


def _row_blocks(g: Geometry) -> list[slice]:
    step = max(_BLOCK // (4 * g.width), 1)
    return [slice(r, min(r + step, g.height)) for r in range(0, g.height, step)]


def compressed(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """The matrix with those entries, compressed rows; SciPy sorts in linear time."""
    coo = scipy.sparse.coo_array((values.numpy(), (rows.numpy(), columns.numpy())), shape=shape)
    csr = coo.tocsr()
    starts, indices = (torch.from_numpy(part.astype(np.int32)) for part in (csr.indptr, csr.indices))
    parts = [part.to(device) for part in (starts, indices, torch.from_numpy(csr.data))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        # int32 indices: the kernel for them is several times as fast
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False)
