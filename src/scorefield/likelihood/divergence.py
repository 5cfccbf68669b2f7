"""The trace of a Jacobian J from products v^T J v.

    Exact         sum_i e_i^T J e_i                          d products
    Rademacher    mean_k v_k^T J v_k, v_k in {-1, 1}^d       independent (Hutchinson 1990)
    Hadamard      the same, v_k orthogonal: distinct rows of a Hadamard matrix, times one vector of signs

The variance of a Rademacher product is 2 sum_{i != j} S_ij^2, S the symmetric part of J: nothing of the diagonal. All n
rows of a Hadamard matrix H, cut to their first d <= n entries, together give the trace itself, since H^T H = n I. So K
rows drawn without replacement are a survey of a finite population, whose mean has the unbiased variance estimate

    (1 - K / n) S^2 / K,      S^2 the sample variance of the K products,

0 at K = n, where the answer is exact. The signs make each v_k a Rademacher vector, whatever the rows drawn: the
variance is (n - K) / (n - 1) of that of independent ones.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.randomness import Noise

# Far from the draws that `sample` makes: probes must not be the signs of the noise a sample was made from.
FIRST_DRAW = 2**30


class Divergence(abc.ABC):
    """Which vectors to take, and what their products say."""

    @abc.abstractmethod
    def directions(self, x: Tensor, seed: int, index: Tensor) -> Tensor:
        """`(K, B, *event)` for `x` `(B, *event)`, a function of (seed, index) alone; `index` `(B,)` int64."""

    @abc.abstractmethod
    def combine(self, products: Tensor) -> Tensor:
        """The estimates of the trace to carry along, `(B, C)`, from the products `(B, K)`."""

    @abc.abstractmethod
    def stderr(self, estimates: Tensor, dims: int) -> Tensor:
        """Standard error of the mean of `estimates` `(B, C)`, `(B,)`; NaN where it cannot be known."""

    @property
    @abc.abstractmethod
    def degrees(self) -> float:
        """Degrees of freedom of `stderr`; infinite where it is 0."""


@dataclass(frozen=True)
class Exact(Divergence):
    """One product for each dimension."""

    def directions(self, x: Tensor, seed: int, index: Tensor) -> Tensor:
        event = tuple(x.shape[1:])
        d = math.prod(event)
        basis = torch.eye(d, dtype=x.dtype, device=x.device).reshape(d, 1, *event)
        return basis.expand(d, *x.shape)

    def combine(self, products: Tensor) -> Tensor:
        return products.sum(1, keepdim=True)

    def stderr(self, estimates: Tensor, dims: int) -> Tensor:
        return torch.zeros_like(estimates[:, 0])

    @property
    def degrees(self) -> float:
        return math.inf


@dataclass(frozen=True)
class _Probes(Divergence):
    probes: int = 8

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ValueError(f"probes must be at least 1, or None for the exact trace; got {self.probes}")

    def combine(self, products: Tensor) -> Tensor:
        return products

    def stderr(self, estimates: Tensor, dims: int) -> Tensor:
        if self.probes == 1:  # one probe says nothing of its own error
            return torch.full_like(estimates[:, 0], math.nan)
        # not torch.std: its last bit for a single row is another than among many
        deviations = estimates - estimates.mean(1, keepdim=True)
        variance = deviations.square().sum(1) / self.degrees
        return torch.sqrt(variance * self.unseen(dims) / self.probes)

    def unseen(self, dims: int) -> float:
        """The share of all vectors there are that was not drawn."""
        return 1.0

    @property
    def degrees(self) -> float:
        return self.probes - 1


@dataclass(frozen=True)
class Rademacher(_Probes):
    """Independent vectors of signs."""

    def directions(self, x: Tensor, seed: int, index: Tensor) -> Tensor:
        noise = Noise(seed, index, tuple(x.shape[1:]), x.dtype)
        return _signs(noise.normals(range(FIRST_DRAW, FIRST_DRAW + self.probes)))


@dataclass(frozen=True)
class Hadamard(_Probes):
    """Orthogonal vectors of signs.

    Args:
        probes: at most n, the power of two at or above the number of dimensions, where the trace is exact.

    Raises:
        ValueError: in use, for more probes than a Hadamard matrix of the event has rows.
    """

    def directions(self, x: Tensor, seed: int, index: Tensor) -> Tensor:
        event = tuple(x.shape[1:])
        d = math.prod(event)
        n = _order(d)
        if self.probes > n:
            raise ValueError(f"probes must be at most {n} in {d} dimensions, where they are exact; got {self.probes}")
        order = Noise(seed, index, (n,)).uniform(FIRST_DRAW)
        rows = order.argsort(dim=1, stable=True)[:, : self.probes]  # (B, K)
        entries = parity(rows.T[:, :, None] & torch.arange(d, device=x.device))  # (K, B, d)
        signs = _signs(Noise(seed, index, event, x.dtype).normal(FIRST_DRAW))
        return signs * (1 - 2 * entries).to(x.dtype).reshape(self.probes, *x.shape)

    def unseen(self, dims: int) -> float:
        return 1 - self.probes / _order(dims)

    @property
    def degrees(self) -> float:
        return self.probes - 1


def parity(bits: Tensor) -> Tensor:
    """The number of ones in each integer below 2^32, modulo 2."""
    for shift in (16, 8, 4, 2, 1):
        bits = bits ^ (bits >> shift)
    return bits & 1


def _order(dims: int) -> int:
    return 1 << max(dims - 1, 0).bit_length()


def _signs(normals: Tensor) -> Tensor:
    return torch.where(normals < 0, -1.0, 1.0).to(normals.dtype)
