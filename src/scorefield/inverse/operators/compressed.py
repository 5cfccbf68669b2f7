"""Compressed sensing: fewer random projections than entries.

    random_matrix         y = R x / sqrt(m), R of independent standard normals or signs: E ||y||^2 = ||x||^2
    SubsampledTransform   y = some rows of H D x, D random signs, H orthonormal and fast: s = 1

Both are functions of a seed.

References:
    Candes & Tao 2006; Donoho 2006. Ailon & Chazelle 2009 (fast transforms with random signs).
    Makhoul 1980 (the cosine transform by FFT).
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
from scorefield.inverse.operators.dense import Dense
from scorefield.randomness import Noise


def random_matrix(
    m: int, event_shape: Sequence[int], *, law: Literal["gaussian", "rademacher"] = "gaussian", seed: int = 0
) -> Dense:
    """`m` random projections of the flattened event; row i depends on the seed and i alone.

    Raises:
        ValueError: for m below 1, or another law.
    """
    shape = shape_of("random_matrix", event_shape)
    if m < 1:
        raise ValueError(f"m must be at least 1; got {m}")
    if law not in ("gaussian", "rademacher"):
        raise ValueError(f"law must be 'gaussian' or 'rademacher'; got {law!r}")
    rows = Noise(seed, torch.arange(m, device="cpu"), (math.prod(shape),), torch.float64).normal(0)
    return Dense((rows if law == "gaussian" else _signs(rows)) / math.sqrt(m), shape)


class SubsampledTransform(LinearOperator):
    """`m` of the coefficients of a fast orthonormal transform, after random signs, chosen at random.

    Args:
        m: numbers measured.
        transform: "dct", the discrete cosine transform of type II; "hadamard", for a power of two of entries.
        seed: signs and choice.

    Raises:
        ValueError: for m outside 1 .. D, another transform, or a Hadamard transform that does not exist.
    """

    def __init__(
        self, m: int, event_shape: Sequence[int], *, transform: Literal["dct", "hadamard"] = "dct", seed: int = 0
    ) -> None:
        self.event_shape, self.output_shape = shape_of(type(self).__name__, event_shape), (m,)
        d = self._entries = math.prod(self.event_shape)
        if not 1 <= m <= d:
            raise ValueError(f"SubsampledTransform: m must lie in 1 .. {d}, the entries of {self.event_shape}; got {m}")
        if transform not in ("dct", "hadamard"):
            raise ValueError(f"SubsampledTransform: transform must be 'dct' or 'hadamard'; got {transform!r}")
        if transform == "hadamard" and d & (d - 1):
            raise ValueError(
                f"SubsampledTransform: 'hadamard' needs a power of two of entries; got {d}. 'dct' takes any"
            )
        self._forward, self._inverse = (dct, idct) if transform == "dct" else (hadamard, hadamard)
        noise = Noise(seed, torch.zeros(1, dtype=torch.int64, device="cpu"), (d,), torch.float64)
        self._sign = Buffer(_signs(noise.normal(0)[0]))
        self._index = Buffer(noise.uniform(1)[0].argsort()[:m].sort().values)

    @takes_empty
    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x.flatten(1) * self._sign.like(x)).index_select(1, self._index.like(x))

    @takes_empty
    def adjoint(self, y: Tensor) -> Tensor:
        whole = y.new_zeros(len(y), self._entries).index_add(1, self._index.like(y), y)
        return (self._inverse(whole) * self._sign.like(y)).reshape(len(y), *self.event_shape)

    def svd(self) -> SVD:
        ones = torch.ones(self.output_shape, dtype=torch.float64, device="cpu")
        return SVD(ones, self.forward, self.adjoint, lambda y: y, lambda c: c)


def dct(x: Tensor) -> Tensor:
    """c_k = sqrt(2 / N) sum_n x_n cos(pi k (2n + 1) / 2N), c_0 over sqrt(2): orthonormal, along the last axis."""
    n = x.shape[-1]
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    turn = _turn(n, x)
    spectrum = torch.fft.fft(folded)
    c = spectrum.real * turn.real + spectrum.imag * turn.imag
    return c * _norms(n, x)


def idct(c: Tensor) -> Tensor:
    """The inverse of `dct`, and its transpose."""
    n = c.shape[-1]
    c = c / _norms(n, c)
    reversed_ = torch.cat([torch.zeros_like(c[..., :1]), c[..., 1:].flip(-1)], -1)
    folded = torch.fft.ifft(torch.complex(c, -reversed_) * _turn(n, c)).real
    half = (n + 1) // 2
    index = torch.arange(n, device=c.device)
    return folded.index_select(-1, torch.where(index % 2 == 0, index // 2, n - 1 - index // 2)) if half else folded


def hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along the last axis, of a power of two; its own inverse."""
    n = x.shape[-1]
    y, width = x, 1
    while width < n:
        pairs = y.unflatten(-1, (n // (2 * width), 2, width))
        a, b = pairs.unbind(-2)
        y = torch.stack([a + b, a - b], -2).flatten(-3)
        width *= 2
    return y / math.sqrt(n)


def _turn(n: int, like: Tensor) -> Tensor:
    """exp(i pi k / 2n)."""
    angle = math.pi / (2 * n) * torch.arange(n, dtype=torch.float64, device="cpu")
    return torch.polar(torch.ones_like(angle), angle).to(device=like.device, dtype=like.dtype.to_complex())


def _norms(n: int, like: Tensor) -> Tensor:
    norms = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64, device="cpu")
    norms[0] = math.sqrt(1 / n)
    return norms.to(like)


def _signs(normal: Tensor) -> Tensor:
    return torch.where(normal < 0, -1.0, 1.0).to(normal.dtype)
