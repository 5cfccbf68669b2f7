"""A finite data set as a distribution: the denoiser every network trained on it is trying to be.

    p = (1/N) sum_i N(d_i, h^2 I),     v = alpha^2 h^2 + sigma^2
    w_i(x) = softmax_i(-|x - alpha d_i|^2 / 2v)
    E[x0 | x_t] = (alpha h^2 / v) x_t + (sigma^2 / v) sum_i w_i d_i

With bandwidth h = 0 it is the optimum of denoising score matching on the data set, which memorises it; with h > 0 a
kernel density estimate. The softmax is streamed over the data, so memory is set by `chunk`, not by the number of pairs.

Given y = A x0 + n the kernels are conditioned, all with one gain and one covariance, and weighted by their evidence:

    p(x0 | y) = sum_i w_i N(d_i + G (y - A d_i), h^2 I - h^2 G A),    w_i ~ N(y; A d_i, S),
    S = h^2 A A^T + noise,    G = h^2 A^T S^-1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.distributions._components import noise_covariance
from scorefield.distributions._lanes import evaluate, matmul, total
from scorefield.distributions._spectrum import Spectrum
from scorefield.distributions.base import Distribution, Level, check_levels, common, parameter
from scorefield.distributions.mixture import GaussianMixture
from scorefield.randomness import Randomness, Stream, choice, randn
from scorefield.tensors import as_tensor

OUTER = 1 << 23  # numbers in a table of outer products of the data, at a time


class _Terms(NamedTuple):
    v: Tensor  # () or (N, 1, L) float64: alpha^2 h^2 + sigma^2, 1 where that is 0
    sharp: Tensor  # as v: where it is 0
    nearest: Tensor  # (N, D, L): sum_i w_i d_i
    log_p: Tensor  # (N, 1, L) float64
    log_mass: Tensor  # (N, 1, L) float64: log of the sum the weights are divided by


class Empirical(Distribution):
    """The uniform mixture of isotropic Gaussians of standard deviation `bandwidth` at the data.

    Args:
        data: `(N, *event)`, any event shape.
        bandwidth: standard deviation of each kernel, in the units of the data. At 0 there is no density at sigma = 0:
            `log_prob` and `score` raise.
        chunk: data rows treated at once.

    Raises:
        ValueError: for a scalar or data that are not finite, a negative or infinite bandwidth, or a chunk below 1; for
            a density or a score at sigma = 0 where the bandwidth is 0.
    """

    def __init__(self, data: Any, bandwidth: float = 0.0, *, chunk: int = 1024) -> None:
        data = as_tensor(data)
        if data.ndim == 0:
            raise ValueError("data must have shape (N, *event); got a scalar")
        data = parameter("data", data, "N", *data.shape[1:])
        bandwidth = float(bandwidth)
        if not 0 <= bandwidth < math.inf:
            raise ValueError(f"bandwidth must be finite and >= 0; got {bandwidth:g}")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1; got {chunk}")
        self.event_shape = tuple(data.shape[1:])
        self.bandwidth = bandwidth
        self.chunk = int(chunk)
        self._data = data.reshape(len(data), -1).to(common(data))
        self._centre = self._data.mean(0, dtype=torch.float64)
        self.device, self.dtype = data.device, self._data.dtype

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        super()._move(device, dtype)
        self._data = self._data.to(dtype)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def data(self) -> Tensor:
        """`(N, *event)`."""
        return self._data.reshape(-1, *self.event_shape)

    @property
    def mean(self) -> Tensor:
        return self._centre.reshape(self.event_shape).to(self.dtype)

    @property
    def variance(self) -> Tensor:
        parts = [((part.double() - self._centre) ** 2).sum(0) for part in self._data.split(self.chunk)]
        return (
            (torch.stack(parts).sum(0) / len(self._data) + self.bandwidth**2).reshape(self.event_shape).to(self.dtype)
        )

    def sample(self, n: int, *, generator: Randomness = None) -> Tensor:
        if isinstance(generator, Stream):
            index = choice(torch.ones(len(self._data), device=self.device), n, generator)
        else:
            index = torch.randint(len(self._data), (n,), device=self.device, generator=generator)
        x = self._data[index]
        if self.bandwidth:
            x = x + self.bandwidth * randn(x.shape, generator, x.dtype, self.device)
        return x.reshape(n, *self.event_shape)

    def noised(self, alpha: float, sigma: float) -> Empirical:
        """The data times alpha, the bandwidth sqrt(alpha^2 h^2 + sigma^2)."""
        alpha, sigma = check_levels(alpha, sigma)
        return Empirical(alpha * self.data, math.hypot(alpha * self.bandwidth, sigma), chunk=self.chunk)

    def denoise(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s, x.dtype)
            a, s = _rows(a), _rows(s)
            on_x = torch.where(terms.sharp, 1 / a, a * self.bandwidth**2 / terms.v)
            on_data = torch.where(terms.sharp, 0.0, s**2 / terms.v)
            return on_x.to(x.dtype) * x + on_data.to(x.dtype) * terms.nearest

        return self._evaluate(block, x_t, alpha, sigma)

    def score_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        self._require_density(alpha, sigma)

        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s, torch.float64)  # the difference below cancels where sigma is small
            return ((_rows(a) * terms.nearest - x) / terms.v).to(x.dtype)

        return self._evaluate(block, x_t, alpha, sigma)

    def log_prob_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        self._require_density(alpha, sigma)
        out = self._evaluate(lambda x, a, s: self._terms(x, a, s, x.dtype).log_p, x_t, alpha, sigma)
        return out.reshape(len(x_t))

    def posterior_covariance(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """Cov[x0 | x_t], `(B, D, D)` in the dtype of `x_t` `(B, *event)`, D the numbers of an event.

        (h^2 sigma^2 / v) I + (sigma^2 / v)^2 sum_i w_i (d_i - m) (d_i - m)^T with m = sum_i w_i d_i.
        """
        size = self._data.shape[1]
        # outer products of the data, so that the sum is one matrix product; as many rows at a time as keep them small
        rows = max(1, min(self.chunk, OUTER // size**2))
        kept = self._data.numel() * size <= OUTER
        dtype = torch.promote_types(x_t.dtype, torch.float32)
        parts = self._data.split(rows)
        outer = [_outer(part.double() - self._centre).to(dtype) if kept else None for part in parts]

        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s, torch.float64)
            a, s = _rows(a), _rows(s)
            centre, second = self._centre[:, None], torch.zeros(1, 1, 1, dtype=x.dtype, device=x.device)
            for part, products in zip(parts, outer, strict=True):
                d = part.double() - self._centre
                logits = a * matmul(d, x.double() - a * centre) - a**2 * ((d**2).sum(1) / 2)[:, None]
                weights = (logits / terms.v - terms.log_mass).exp().to(x.dtype)
                second = second + matmul(_outer(d).to(x.dtype) if products is None else products, weights)
            mean = terms.nearest - centre
            second = second.double() - (mean[:, :, None] * mean[:, None]).flatten(1, 2)
            of_data = torch.where(terms.sharp, 0.0, s**2 / terms.v) ** 2
            own = torch.where(terms.sharp, 0.0, self.bandwidth**2 * s**2 / terms.v)
            eye = torch.eye(size, dtype=torch.float64, device=x.device).reshape(-1, 1)
            return (of_data * second + own * eye).to(x.dtype)

        width = max(min(self.chunk, len(self._data)), size) * size
        out = evaluate(block, x_t, alpha, sigma, self.event_shape, width)
        return out.reshape(len(x_t), size, size)

    def posterior(self, operator: Any, y: Any, noise: float | Tensor) -> GaussianMixture:
        """The law of x0, flattened, given y = A x0 + n: a mixture of as many Gaussians as there are data.

        Args:
            operator: A, `(M, D)`.
            y: `(M,)`.
            noise: of n: a standard deviation, `(M,)` standard deviations, or an `(M, M)` covariance. Positive.

        Raises:
            ValueError: at bandwidth 0, where the posterior is a weighted choice among the data and has no density.
        """
        if not self.bandwidth:
            raise ValueError("the posterior of an Empirical needs a bandwidth > 0; got 0")
        operator = parameter("operator", operator, "M", self._data.shape[1]).to(self.device, torch.float64)
        y = parameter("y", y, len(operator)).to(self.device, torch.float64)
        d, h = self._data.double(), self.bandwidth
        scale = torch.linalg.cholesky(noise_covariance(noise, len(y), y))
        # whitened, A = P s Q^T: along Q a kernel's variance h^2 shrinks to h^2 / (1 + h^2 s^2), elsewhere it stays
        p, singular, qt = torch.linalg.svd(torch.linalg.solve_triangular(scale, operator, upper=False))
        singular = torch.nn.functional.pad(singular, (0, len(qt) - len(singular)))
        white = torch.linalg.solve_triangular(scale, (y - d @ operator.T).T, upper=False).T @ p
        white = torch.nn.functional.pad(white, (0, max(0, len(qt) - len(y))))
        gain = h**2 * singular / (1 + h**2 * singular**2)
        spread = 1 + h**2 * torch.nn.functional.pad(singular, (0, white.shape[1] - len(qt))) ** 2
        weights = torch.softmax(-(white.square() / spread).sum(1) / 2, 0)
        means = d + (white[:, : len(qt)] * gain) @ qt
        variances = h**2 / (1 + h**2 * singular**2)
        n, size = d.shape
        spectrum = Spectrum(qt.T.expand(n, size, size), variances.expand(n, size), variances.max().expand(n), size)
        return GaussianMixture._of(weights, means, spectrum, self.dtype)

    def _evaluate(self, f, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        width = max(min(self.chunk, len(self._data)), self._data.shape[1])
        out = evaluate(f, x_t, alpha, sigma, self.event_shape, width)
        return out.reshape(x_t.shape) if out.numel() == x_t.numel() else out

    def _require_density(self, alpha: Level, sigma: Level) -> None:
        if self.bandwidth == 0 and not bool((as_tensor(sigma) > 0).all()):
            raise ValueError(
                "an Empirical of bandwidth 0 has no density at sigma = 0: give it a bandwidth > 0, or ask at sigma > 0"
            )

    def _terms(self, x: Tensor, a: Tensor, s: Tensor, dtype: torch.dtype) -> _Terms:
        a, s = _rows(a), _rows(s)
        v = a**2 * self.bandwidth**2 + s**2
        sharp = v == 0
        v = torch.where(sharp, 1.0, v)
        centred = x.double() - a * self._centre[:, None]
        top = mass = acc = None
        for part in self._data.split(self.chunk):
            # |x - a d|^2 around the data's mean and in float64: in float32 the nearest datum is lost at small sigma.
            d = part.double() - self._centre
            logits = (a * matmul(d, centred) - a**2 * ((d**2).sum(1) / 2)[:, None]) / v
            peak = logits.detach().amax(1, keepdim=True)
            peak = peak if top is None else torch.maximum(top, peak)
            weights = (logits - peak).to(dtype).exp()
            sums = total(weights, 1)
            means = matmul(d.T.to(dtype), weights)
            if top is None or mass is None or acc is None:
                mass, acc = sums, means
            else:
                keep = (top - peak).to(dtype).exp()
                mass, acc = keep * mass + sums, keep * acc + means
            top = peak
        assert top is not None
        assert mass is not None
        assert acc is not None
        nearest = self._centre[:, None].to(dtype) + acc / mass
        log_mass = top + mass.double().log()
        log_p = log_mass - total(centred**2, 1) / (2 * v)
        log_p = log_p - math.log(len(self._data)) - 0.5 * len(self._centre) * torch.log(2 * math.pi * v)
        return _Terms(v, sharp, nearest, log_p, log_mass)


def _outer(d: Tensor) -> Tensor:
    """d_i d_i^T of each row of `d` `(n, D)`, as columns: `(D^2, n)`."""
    return (d[:, :, None] * d[:, None]).flatten(1).T.contiguous()


def _rows(level: Tensor) -> Tensor:
    """`(N, 1, 1, L)` -> `(N, 1, L)`."""
    return level[:, 0] if level.ndim else level
