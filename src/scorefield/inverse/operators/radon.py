"""Parallel-beam tomography: line integrals of an image.

A ray at angle theta is the line x cos theta + y sin theta = s, s measured from the centre of the image, x to the right
and y up, in pixels. A detector bin of width w sees the mean over its width of the integrals along its rays, and an
image is constant on its pixels, so with the strip |s - s_d| < w / 2

    y(theta, d) = 1/w sum_p area(strip_d and pixel_p) x_p

exactly. The area is a difference of F((s - s_p)), the part of a unit square below the line s: the convolution of boxes
of widths a = max(|cos|, |sin|) and b = min(|cos|, |sin|), integrated, so with u = |s - s_p|

    1 - F = 0 beyond (a + b)/2;  ((a + b)/2 - u)^2 / (2 a b) down to (a - b)/2;  1/2 - u/a within;    F(-u) = 1 - F(u).

Filtered back-projection inverts it where angles are many (Kak & Slaney 1988, ch. 3):

    x_p = sum_theta dtheta (y * h)(theta, s_p),    h(0) = 1/(4 w^2), h(n w) = -1/(pi n w)^2 for odd n, else 0.

References:
    Radon 1917. Kak & Slaney 1988, Principles of computerized tomographic imaging.
    Ramachandran & Lakshminarayanan 1971 (the filter h). De Man & Basu 2002 (projectors of this family).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scorefield.inverse.operators import _strips
from scorefield.inverse.operators._function import linear
from scorefield.inverse.operators.base import LinearOperator, shape_of
from scorefield.tensors import as_tensor

LARGEST_MATRIX = 256**2
"""Pixels up to which the matrix is kept; above, its entries are made anew, angle by angle."""


class Radon(LinearOperator):
    """`(B, ..., H, W)` to sinograms `(B, ..., angles, detectors)`; what stands before H is projected image by image.

    Lengths are in pixels: multiply the operator by a pixel's side for others. Sums over the detectors of the default
    are the mass of the image, at every angle.

    Args:
        event_shape: (..., H, W).
        angles: theta in radians; or how many, evenly spaced over [0, pi). Any subset makes a limited view.
        detectors: bins; enough for the diagonal unless given, and even or odd as W is, so that at angle 0 bins of
            width 1 are columns.
        spacing: w, the width of a bin and the distance of two.
        matrix: whether to keep the sparse matrix (about 18 bytes for each of 2.3 angles H W numbers): None keeps it up
            to 256 x 256. Both ways compute the same numbers.

    Raises:
        ValueError: for a shape without H and W, no angles, or a count or spacing that is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        angles: int | Sequence[float] | Tensor = 180,
        *,
        detectors: int | None = None,
        spacing: float = 1.0,
        matrix: bool | None = None,
    ) -> None:
        shape = shape_of(type(self).__name__, event_shape)
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(f"Radon: event_shape must be (..., H, W); got {shape}")
        if isinstance(angles, int):
            theta = torch.arange(angles, dtype=torch.float64, device="cpu") * math.pi / max(angles, 1)
        else:
            theta = as_tensor(angles, dtype=torch.float64).detach().cpu()
        if theta.ndim != 1 or len(theta) == 0 or not bool(torch.isfinite(theta).all()):
            raise ValueError(f"Radon: angles must be a positive count, or finite and (n,); got {angles}")
        if not 0 < spacing < math.inf:
            raise ValueError(f"Radon: spacing must be positive; got {spacing}")
        h, w = shape[-2:]
        if detectors is None:
            detectors = math.ceil(math.hypot(h, w) / spacing)
            detectors += (detectors - w) % 2
        if detectors < 1:
            raise ValueError(f"Radon: detectors must be at least 1; got {detectors}")
        self.angles, self.spacing = theta, float(spacing)
        self.event_shape, self.output_shape = shape, (*shape[:-2], len(theta), detectors)
        self.matrix = h * w <= LARGEST_MATRIX if matrix is None else matrix
        self._geometry = _strips.Geometry(h, w, tuple(theta.tolist()), detectors, float(spacing))
        self._matrices: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self._project, self._back_project)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: unfiltered back-projection."""
        return linear(y, self._back_project, self._project)

    def fbp(self, y: Tensor, window: Literal["ramp", "hann"] = "ramp") -> Tensor:
        """Filtered back-projection, `(B, ..., H, W)`: the inverse in the limit of many angles and fine bins.

        Each angle stands for its share of [0, pi), up to the middle between its neighbours; in a limited view the
        missing wedge stands for nothing.

        Args:
            window: "ramp" alone, or a "hann" taper of it, which halves the noise's bandwidth.

        Raises:
            ValueError: for another window, or a sinogram of another shape.
        """
        if window not in ("ramp", "hann"):
            raise ValueError(f"Radon: window must be 'ramp' or 'hann'; got {window!r}")
        self._check("y", y, self.output_shape)
        n = self.output_shape[-1]
        size = 1 << (2 * n - 1).bit_length()  # the linear convolution, not the circular one
        k = torch.arange(size, dtype=torch.float64, device="cpu")
        k = torch.minimum(k, size - k)
        h = torch.where(k % 2 == 1, -1 / (math.pi * k.clamp(min=1) * self.spacing) ** 2, 0.0)
        h[0] = 1 / (4 * self.spacing**2)
        gain = torch.fft.rfft(h).real
        if window == "hann":
            gain = gain * torch.cos(math.pi * torch.arange(len(gain), device="cpu") / size) ** 2
        filtered = torch.fft.irfft(torch.fft.rfft(y, size) * gain.to(y), size)[..., :n]
        share = (_shares(self.angles) * self.spacing**2)[:, None]  # the sum over bins is an integral, A^T a mean over w
        return self.adjoint(filtered * share.to(y))

    def _project(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, self._geometry.pixels)
        kept = self.matrix
        y = (self._matrix(x)[0] @ images.T.contiguous()).T if kept else _strips.project(self._geometry, images)
        return y.reshape(len(x), *self.output_shape)

    def _back_project(self, y: Tensor) -> Tensor:
        sinograms = y.reshape(-1, self._geometry.bins)
        kept = self.matrix
        x = (
            (self._matrix(y)[1] @ sinograms.T.contiguous()).T
            if kept
            else _strips.back_project(self._geometry, sinograms)
        )
        return x.reshape(len(y), *self.event_shape)

    def _matrix(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """A and A^T, compressed rows both: one product then serves any number of columns."""
        key = (like.dtype, like.device)
        if key not in self._matrices:
            self._matrices[key] = _strips.matrices(self._geometry, like.dtype, like.device)
        return self._matrices[key]


def transmission_noise(counts: Tensor | float, integrals: Tensor | float = 0.0) -> Tensor:
    """The standard deviation of y = -log(N / N0), N ~ Poisson(N0 exp(-p)): sqrt(exp(p) / N0), to first order.

    The variance of log N is Var N / (E N)^2 = 1 / E N: good to 2 % from 40 detected photons up.

    Args:
        counts: N0, photons sent along a ray; or those detected, without `integrals`.
        integrals: p, dimensionless attenuation along each ray.

    Raises:
        ValueError: for counts that are not positive.
    """
    counts = as_tensor(counts)
    counts = counts if counts.is_floating_point() else counts.to(torch.get_default_dtype())
    if not bool((counts > 0).all()):
        raise ValueError(f"counts must be positive; got a smallest of {float(counts.min()):g}")
    return (as_tensor(integrals, dtype=counts.dtype).exp() / counts).sqrt()


def _shares(angles: Tensor) -> Tensor:
    """Of [0, pi), to the middle of the gaps on either side; a gap counts at most twice the usual one."""
    order = torch.argsort(angles % math.pi)
    turned = (angles % math.pi)[order]
    gaps = torch.cat([turned.diff(), (turned[:1] + math.pi - turned[-1:])])
    gaps = gaps.minimum(2 * gaps.median())
    shares = torch.empty_like(gaps)
    shares[order] = (gaps + gaps.roll(1)) / 2
    return shares
