"""A denoiser of small patches as one of whole images.

Cut an image into patches that do not overlap, and model them as independent draws of the patch law: the exact denoiser
of that law of images is the patches' denoiser, patch by patch. Another offset of the cut is another such law, and no
offset is better than another, so take the mean over offsets: with P_k the k-th patch of x and D the patch denoiser,

    D_image(x)_i = mean over the patches k that hold pixel i of D(P_k x) at that pixel.

A mean of scores is the score of a geometric mean: seams cancel, what all offsets agree on remains. It is exact where
patches are independent (stride = patch) and where pixels are; elsewhere it knows nothing of what is further apart than
a patch. Its Jacobian is symmetric, as a covariance's, where all pixels are in as many patches: not near the border.

References:
    Zoran & Weiss 2011, From learning models of natural image patches to whole image restoration.
    Hu et al. 2024, Learning image priors through patch-based diffusion models for solving inverse problems.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers.base import Denoiser
from scorefield.schedules import as_time
from scorefield.tensors import as_tensor


class PatchDenoiser(Denoiser):
    """E[x0 | x_t] of images `(B, C, H, W)` from a denoiser of patches `(B, C, patch, patch)`.

    Args:
        denoiser: of patches; each hears the conditions of its image.
        patch: height and width it was trained on.
        stride: between patches, 1 .. `patch`; the last row and column of patches end at the image's border. A quarter
            of the patch costs 16 patches a pixel, half of it 4.
        chunk: patches in one call of the denoiser; all at once unless given.

    Raises:
        ValueError: for a stride outside 1 .. patch, an image smaller than a patch, or a condition without a row for
            each image.
    """

    def __init__(self, denoiser: Denoiser, patch: int, stride: int, *, chunk: int | None = None) -> None:
        super().__init__()
        if not 1 <= stride <= patch:
            raise ValueError(f"stride must lie in 1..{patch}, the size of a patch; got {stride}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1; got {chunk}")
        self.denoiser, self.patch, self.stride, self.chunk = denoiser, patch, stride, chunk
        self._like(denoiser)
        mean = as_tensor(denoiser.data_mean)
        self.data_mean = denoiser.data_mean if mean.ndim == 0 else float(mean.mean())  # an image has no places in it

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        if x_t.ndim != 4 or min(x_t.shape[2:]) < self.patch:
            raise ValueError(
                f"x_t must be images (B, C, H, W) of at least {self.patch} x {self.patch}; got {tuple(x_t.shape)}"
            )
        b, c, h, w = x_t.shape
        told = Conditions.of(cond, b, x_t.dtype, x_t.device, what="images")
        p = self.patch
        rows, columns = (self._places(n, x_t.device) for n in (h, w))  # (R, p), (S, p)
        cut = x_t[:, :, rows][..., columns]  # (B, C, R, p, S, p)
        r, s = len(rows), len(columns)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(b * r * s, c, p, p)
        clean = self._denoised(patches, as_time(t), r * s, told).reshape(b, r, s, c, p, p).permute(0, 3, 1, 4, 2, 5)
        by_row = x_t.new_zeros(b, c, h, s, p).index_add(2, rows.flatten(), clean.reshape(b, c, r * p, s, p))
        total = x_t.new_zeros(b, c, h, w).index_add(3, columns.flatten(), by_row.flatten(3))
        held = torch.bincount(rows.flatten(), minlength=h)[:, None] * torch.bincount(columns.flatten(), minlength=w)
        return total / held

    def _denoised(self, patches: Tensor, t: Tensor, each: int, cond: Conditions) -> Tensor:
        """Of `each` patches an image, those of one image after those of another."""
        t = t.repeat_interleave(each) if t.ndim else t
        cond = cond.repeated(each)
        if self.chunk is None or len(patches) <= self.chunk:
            return self.denoiser(patches, t, **cond)
        parts: list[Tensor] = []
        for low in range(0, len(patches), self.chunk):
            rows = slice(low, low + self.chunk)
            parts.append(self.denoiser(patches[rows], t[rows] if t.ndim else t, **cond.rows(rows)))
        return torch.cat(parts)

    def _places(self, n: int, device: torch.device) -> Tensor:
        """The pixels of each patch along an axis of `n`, `(count, patch)`."""
        last = n - self.patch
        first = torch.tensor(sorted({*range(0, last, self.stride), last}), device=device)
        return first[:, None] + torch.arange(self.patch, device=device)
