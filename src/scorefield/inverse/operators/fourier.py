"""Magnetic resonance imaging: the Fourier transform of an image, some of it.

    y_c = M F (S_c x),    F orthonormal, centred: zero frequency and zero position in the middle of their grids,

S_c the sensitivity of coil c, M the choice of frequencies. Complex numbers of y are a last dimension of 2, and the
noise of each part the same. A real image's spectrum is symmetric, F x(-k) = conj F x(k), so A^T A is the symmetric
filter (m(k) + m(-k)) / 2, which the Hartley basis diagonalises: s^2 is 1, 1/2 or 0, and U = A V / s.

References:
    Pruessmann et al. 1999 (SENSE). Lustig, Donoho & Pauly 2007, Sparse MRI. Zbontar et al. 2018 (fastMRI; its masks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scorefield.inverse.operators._buffers import Buffer
from scorefield.inverse.operators._function import takes_empty
from scorefield.inverse.operators.base import SVD, LinearOperator, shape_of
from scorefield.inverse.operators.blur import hartley
from scorefield.randomness import Noise


class Fourier(LinearOperator):
    """k-space samples `(n, 2)` of an image, or `(coils, n, 2)`, in the order of the mask's True entries.

    `adjoint(y)` is the zero-filled (and coil-combined) reconstruction.

    Args:
        mask: `(H, W)` bool, zero frequency at [H // 2, W // 2]; `cartesian_mask` and `radial_mask` make some.
        event_shape: (1, H, W) or (H, W), a real image; (2, H, W), real and imaginary part. (1, H, W) unless given.
        coils: sensitivities `(C, H, W)`, complex or real.

    Raises:
        ValueError: for shapes that do not fit, or an empty mask.
    """

    def __init__(self, mask: Tensor, event_shape: Sequence[int] | None = None, coils: Tensor | None = None) -> None:
        if not isinstance(mask, Tensor):
            mask = torch.as_tensor(mask, device="cpu")
        if mask.dtype != torch.bool or mask.ndim != 2 or not bool(mask.any()):
            raise ValueError(f"Fourier: mask must be bool, (H, W), not empty; got {mask.dtype}, {tuple(mask.shape)}")
        size = tuple(mask.shape)
        shape = (1, *size) if event_shape is None else shape_of(type(self).__name__, event_shape)
        if shape not in (size, (1, *size), (2, *size)):
            raise ValueError(f"Fourier: event_shape must be {size}, {(1, *size)} or {(2, *size)}; got {shape}")
        if coils is not None and (coils.ndim != 3 or tuple(coils.shape[1:]) != size):
            raise ValueError(f"Fourier: coils must be (C, {size[0]}, {size[1]}); got {tuple(coils.shape)}")
        self.mask, self.event_shape = mask, shape
        self.is_complex = len(shape) == 3 and shape[0] == 2
        n = int(mask.sum())
        self.output_shape = (n, 2) if coils is None else (len(coils), n, 2)
        self.coils = None if coils is None else Buffer(coils.to(torch.complex128))
        # where an entry is, before the shift
        centred = torch.fft.fftshift(torch.arange(mask.numel(), device="cpu").reshape(size))
        self._index = Buffer(centred[mask])

    @takes_empty
    def forward(self, x: Tensor) -> Tensor:
        size = self.mask.shape
        image = torch.complex(x[:, 0], x[:, 1]) if self.is_complex else _as_complex(x.reshape(-1, *size))
        if self.coils is not None:
            image = self.coils.like(x) * image[:, None]
        spectrum = torch.fft.fft2(torch.fft.ifftshift(image, (-2, -1)), norm="ortho")
        return torch.view_as_real(spectrum.flatten(-2).index_select(-1, self._index.like(x)))

    @takes_empty
    def adjoint(self, y: Tensor) -> Tensor:
        size = self.mask.shape
        samples = torch.complex(y[..., 0], y[..., 1])
        zeros = samples.new_zeros(*samples.shape[:-1], self.mask.numel())
        spectrum = zeros.index_add(-1, self._index.like(y), samples).unflatten(-1, size)
        image = torch.fft.fftshift(torch.fft.ifft2(spectrum, norm="ortho"), (-2, -1))
        if self.coils is not None:
            image = (self.coils.like(y).conj() * image).sum(1)
        return (
            torch.stack([image.real, image.imag], 1) if self.is_complex else image.real.reshape(-1, *self.event_shape)
        )

    def samples(self, kspace: Tensor) -> Tensor:
        """y of a whole, centred k-space, complex `(B, H, W)` or `(B, C, H, W)`: what a scanner's file has."""
        picked = kspace.flatten(-2)[..., self.mask.flatten().to(kspace.device)]
        y = torch.view_as_real(picked)
        self._check("kspace", y, self.output_shape)
        return y

    def measured(self, y: Tensor) -> Tensor:
        """Samples, real or complex, or a whole k-space, of which the mask's are taken."""
        whole = y.is_complex() and tuple(y.shape[1:]) in (
            (*self.output_shape[:-2], *self.mask.shape),
            (1, *self.mask.shape),
        )
        if not whole:
            return super().measured(y)
        return self.samples(y.reshape(len(y), *self.output_shape[:-2], *self.mask.shape))

    def svd(self) -> SVD | None:
        """Of a single coil."""
        if self.coils is not None:
            return None
        if self.is_complex:
            n = 2 * self.output_shape[0]
            shaped = lambda c: c.reshape(len(c), *self.output_shape)  # noqa: E731
            ones = torch.ones(n, dtype=torch.float64, device="cpu")
            return SVD(
                ones,
                lambda x: self.forward(x).flatten(1),
                lambda c: self.adjoint(shaped(c)),
                lambda y: y.flatten(1),
                shaped,
            )
        m = torch.fft.ifftshift(self.mask).double()
        s2 = (m + m.flip(0, 1).roll((1, 1), (0, 1))).flatten() / 2
        index = s2.nonzero().squeeze(1)
        s, at = Buffer(s2[index].sqrt()), Buffer(index)
        size = self.mask.shape

        def vt(x: Tensor) -> Tensor:
            image = torch.fft.ifftshift(x.reshape(-1, *size), (-2, -1))
            return hartley(image, (-2, -1)).flatten(1).index_select(1, at.like(x))

        def v(c: Tensor) -> Tensor:
            whole = c.new_zeros(len(c), self.mask.numel()).index_add(1, at.like(c), c)
            image = hartley(whole.unflatten(1, size), (-2, -1))
            return torch.fft.fftshift(image, (-2, -1)).reshape(-1, *self.event_shape)

        return SVD(
            s.tensor,
            vt,
            v,
            lambda y: vt(self.adjoint(y)) / s.like(y),
            lambda c: self.forward(v(c / s.like(c))),
        )


def cartesian_mask(
    shape: Sequence[int],
    acceleration: float = 4.0,
    *,
    centre: float = 0.08,
    kind: Literal["random", "equispaced"] = "random",
    seed: int = 0,
) -> Tensor:
    """Whole columns of k-space, `(H, W)` bool: the middle ones (autocalibration), and of the others some.

    Args:
        acceleration: round(W / acceleration) columns in all.
        centre: the share of W in the middle that is always there.
        kind: the others uniformly at random, or evenly spaced from a random start; a function of `seed`.

    Raises:
        ValueError: for an acceleration that leaves fewer columns than the middle, or another kind.
    """
    h, w = shape
    lines, middle = round(w / acceleration), max(round(centre * w), 1)
    if not (acceleration >= 1 and middle <= lines):
        raise ValueError(
            f"acceleration must be at least 1 and leave the {middle} columns of the centre; "
            f"got {acceleration}: {lines} of {w}"
        )
    if kind not in ("random", "equispaced"):
        raise ValueError(f"kind must be 'random' or 'equispaced'; got {kind!r}")
    columns = torch.zeros(w, dtype=torch.bool, device="cpu")
    start = w // 2 - middle // 2
    columns[start : start + middle] = True
    others = (~columns).nonzero().squeeze(1)
    u = Noise(seed, torch.zeros(1, dtype=torch.int64, device="cpu"), (w,), torch.float64).uniform(0)[0]
    n = lines - middle
    if kind == "random":
        columns[others[u[: len(others)].argsort()[:n]]] = True
    elif n:
        step = len(others) / n
        columns[others[((torch.arange(n, device="cpu") + u[0]) * step).long()]] = True
    return columns.expand(h, w).clone()


def radial_mask(shape: Sequence[int], spokes: int) -> Tensor:
    """The grid points nearest to `spokes` lines through the middle of k-space, evenly turned, `(H, W)` bool.

    Raises:
        ValueError: for no spokes.
    """
    if spokes < 1:
        raise ValueError(f"spokes must be at least 1; got {spokes}")
    h, w = shape
    theta = torch.arange(spokes, dtype=torch.float64, device="cpu")[:, None] * math.pi / spokes
    r = torch.linspace(-0.5, 0.5, 4 * max(h, w) + 1, dtype=torch.float64, device="cpu")
    i = (h // 2 + r * h * torch.sin(theta)).round().long()
    j = (w // 2 + r * w * torch.cos(theta)).round().long()
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    mask = torch.zeros(h, w, dtype=torch.bool, device="cpu")
    mask[i[inside], j[inside]] = True
    return mask


def coil_maps(coils: int, shape: Sequence[int], *, width: float = 0.6) -> Tensor:
    """Smooth made-up sensitivities `(coils, H, W)` complex128: Gaussians round the rim, sum_c |S_c|^2 = 1 everywhere.

    Args:
        width: of the Gaussians, in units of half the image; their phase turns once across it.

    Raises:
        ValueError: for no coils, or a width that is not positive.
    """
    if coils < 1 or not width > 0:
        raise ValueError(f"coils must be at least 1 and width positive; got {coils} and {width}")
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n, dtype=torch.float64, device="cpu") for n in shape], indexing="ij")
    angle = 2 * math.pi * torch.arange(coils, dtype=torch.float64, device="cpu")[:, None, None] / coils
    cx, cy = torch.cos(angle), torch.sin(angle)
    size = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    maps = torch.polar(size, math.pi * (x * cx + y * cy) / 2 + angle)
    return maps / maps.abs().square().sum(0).sqrt()


def _as_complex(x: Tensor) -> Tensor:
    return torch.complex(x, torch.zeros_like(x))
