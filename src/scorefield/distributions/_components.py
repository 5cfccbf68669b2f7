"""The mathematics shared by a Gaussian and a mixture of them.

With x0 ~ sum_k pi_k N(m_k, C_k) and V_k = alpha^2 C_k + sigma^2 I, x_t ~ sum_k pi_k N(alpha m_k, V_k) and

    rho_k(x)    = pi_k N(x; alpha m_k, V_k) / sum_j pi_j N(x; alpha m_j, V_j)          posterior responsibilities
    score       = -sum_k rho_k V_k^-1 (x - alpha m_k)
    E[x0 | x_t] =  sum_k rho_k [m_k + alpha C_k V_k^-1 (x - alpha m_k)]

In the eigenbasis of C_k (`Spectrum`) a gain is alpha w / (alpha^2 w + sigma^2), and its difference to the reference
gain alpha sigma^2 (w - c) / (v_w v_c): no digits are lost at any noise level. Differences x - alpha m_k are taken in
float64 before they are rounded to the dtype of x: at sigma = 1e-6 float32 would leave nothing of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.distributions._lanes import check_x, evaluate, level, matmul, total
from scorefield.distributions._spectrum import Spectrum
from scorefield.distributions.base import Distribution, Level
from scorefield.randomness import Randomness, choice, randn

LOG_2PI = math.log(2 * math.pi)


class _Terms(NamedTuple):
    """What every answer is made of; blocks of `N` times `LANES` samples. v and v_rest may lack the batch dimensions."""

    v: Tensor  # (N, K, R, L) float64: alpha^2 w + sigma^2
    v_rest: Tensor  # (N, K, 1, L) float64: alpha^2 c + sigma^2
    r: Tensor  # (N, K, D, L): x - alpha m_k
    z: Tensor  # (N, K, R, L): U_k^T r_k
    e: Tensor | None  # (N, K, D, L): r_k - U_k z_k, what the basis does not hold
    rho: Tensor  # (N, K, L)
    log_p: Tensor  # (N, 1, L) float64


class GaussianComponents(Distribution):
    """sum_k weights_k N(means_k, spectrum_k), parameters in float64; the base of `Gaussian` and `GaussianMixture`."""

    def __init__(self, weights: Tensor, means: Tensor, spectrum: Spectrum, dtype: torch.dtype) -> None:
        self._weights = weights
        self._means = means
        self._spectrum = spectrum
        self.event_shape = (spectrum.dim,)
        self._move(means.device, dtype)

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        super()._move(device, dtype)
        self._spectrum = self._spectrum.to(device)
        self._casts: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}

    @property
    def mean(self) -> Tensor:
        return (self._weights @ self._means).to(self.dtype)

    @property
    def variance(self) -> Tensor:
        between = (self._means - self._weights @ self._means) ** 2
        return (self._weights @ (self._spectrum.marginal() + between)).to(self.dtype)

    def sample(self, n: int, *, generator: Randomness = None) -> Tensor:
        spectrum, (means, basis) = self._spectrum, self._cast(self.dtype)
        root, root_rest = (v.sqrt().to(self.dtype) for v in (spectrum.variances, spectrum.rest))
        k = choice(self._weights, n, generator)
        noise = randn((n, spectrum.dim), generator, self.dtype, self.device)
        if basis is None:
            return means[k] + noise * (root[k] if spectrum.rank else root_rest[k, None])
        x = torch.empty_like(noise)
        for j in range(len(means)):  # the symmetric square root of C_j applied to the noise
            own = noise[k == j]
            stretch = (root[j] - root_rest[j]) * (own @ basis[j])
            x[k == j] = means[j] + root_rest[j] * own + stretch @ basis[j].T
        return x

    def log_prob_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        return self._evaluate(lambda x, a, s: self._terms(x, a, s).log_p, x_t, alpha, sigma)[:, 0]

    def score_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s)
            rho = terms.rho[:, :, None]
            out = torch.zeros_like(x)
            if self._spectrum.rank:
                out = out - self._lift(rho * terms.z / terms.v.to(x.dtype))
            if terms.e is not None:
                out = out - total(rho / terms.v_rest.to(x.dtype) * terms.e, 1).squeeze(1)
            return out

        return self._evaluate(block, x_t, alpha, sigma)

    def denoise(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        def block(x: Tensor, a: Tensor, s: Tensor) -> Tensor:
            terms = self._terms(x, a, s)
            on_x, on_mean, on_z = self._gains(terms, a, s)
            means, _ = self._cast(x.dtype)
            rho = terms.rho[:, :, None]
            out = x * total(rho * on_x.to(x.dtype), 1).squeeze(1)
            out = out + matmul(means.T, (rho * on_mean.to(x.dtype))[:, :, 0])
            if self._spectrum.rank:
                out = out + self._lift(rho * on_z.to(x.dtype) * terms.z)
            return out

        return self._evaluate(block, x_t, alpha, sigma)

    def posterior_covariance(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """Cov[x0 | x_t], `(B, D, D)`, for `x_t` `(B, D)`.

        sum_k rho_k [S_k + (mu_k - mu)(mu_k - mu)^T] with S_k = C_k sigma^2 V_k^-1 and mu_k the posterior mean given
        component k. By Tweedie's second-order formula it equals (sigma^2 / alpha) times the Jacobian of `denoise`.
        """
        check_x(x_t, self.event_shape)
        x = x_t.double()
        a, s = (
            level(name, value, x).to(x.device).reshape(-1, 1, 1) for name, value in (("alpha", alpha), ("sigma", sigma))
        )
        spectrum = self._spectrum
        rho = self._responsibilities(x, alpha, sigma)
        v = a**2 * spectrum.variances + s**2
        v_rest = (a**2 * spectrum.rest[:, None] + s**2)[..., 0]
        within = spectrum.function(spectrum.variances * s**2 / v, spectrum.rest * s[..., 0] ** 2 / v_rest)
        gain = spectrum.function(a * spectrum.variances / v, a[..., 0] * spectrum.rest / v_rest)
        r = x[:, None] - a * self._means
        means = self._means + (gain @ r[..., None])[..., 0]
        deviation = means - (rho[..., None] * means).sum(1, keepdim=True)
        out = torch.einsum("bk,bkd,bke->bde", rho, deviation, deviation)
        return (out + torch.einsum("bk,bkde->bde", rho, within.expand(len(x), -1, -1, -1))).to(x_t.dtype)

    def _responsibilities(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        return self._evaluate(lambda x, a, s: self._terms(x, a, s).rho, x_t, alpha, sigma)

    def _evaluate(self, f, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        return evaluate(f, x_t, alpha, sigma, self.event_shape, width=self._means.numel())

    def _cast(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Means and basis in the dtype of the computation, made once."""
        if dtype not in self._casts:
            with torch.inference_mode(False):  # an inference tensor kept here could not be differentiated through later
                basis = self._spectrum.basis
                self._casts[dtype] = (self._means.to(dtype), None if basis is None else basis.to(dtype))
        return self._casts[dtype]

    def _terms(self, x: Tensor, a: Tensor, s: Tensor) -> _Terms:
        spectrum, dtype = self._spectrum, x.dtype
        v = a**2 * spectrum.variances[:, :, None] + s**2
        v_rest = a**2 * spectrum.rest[:, None, None] + s**2
        r = (x.double()[:, None] - a * self._means[:, :, None]).to(dtype)
        z = self._project(r)
        e = None
        if not spectrum.rank:
            e = r
        elif spectrum.outside:
            _, basis = self._cast(dtype)
            assert basis is not None
            e = r - torch.stack([matmul(u, z[:, k]) for k, u in enumerate(basis)], 1)

        # Mahalanobis distances in the dtype of x; log-determinants in float64, as differences to the largest component,
        # because in 10^3 dimensions they are sums of 10^4 of which only the differences matter.
        distance = total((z * v.rsqrt().to(dtype)) ** 2, 2).squeeze(2)
        constant = self._weights.log()[:, None] - 0.5 * total(v.log(), -2).squeeze(-2)
        if e is not None:
            distance = distance + total((e * v_rest.rsqrt().to(dtype)) ** 2, 2).squeeze(2)
            constant = constant - 0.5 * spectrum.outside * v_rest.log()[..., 0, :]
        reference = constant.amax(-2, keepdim=True)
        logits = (constant - reference).to(dtype) - 0.5 * distance
        top = logits.detach().amax(1, keepdim=True)
        likelihood = torch.exp(logits - top)
        evidence = total(likelihood, 1)
        log_p = reference + (top + evidence.log()).double() - 0.5 * spectrum.dim * LOG_2PI
        return _Terms(v, v_rest, r, z, e, likelihood / evidence, log_p)

    def _gains(self, terms: _Terms, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E[x0 | x_t, k] = on_x x + on_mean m_k + U_k on_z z_k; the first two lie between x / alpha and m_k."""
        rest = self._spectrum.rest[:, None, None]
        on_mean = s**2 / terms.v_rest
        on_z = on_mean * a * (self._spectrum.variances[:, :, None] - rest) / terms.v
        return a * rest / terms.v_rest, on_mean.expand_as(terms.v_rest), on_z

    def _project(self, r: Tensor) -> Tensor:
        """U_k^T r_k: `(N, K, D, L)` -> `(N, K, R, L)`."""
        _, basis = self._cast(r.dtype)
        if basis is None:
            return r if self._spectrum.rank else r[:, :, :0]
        if basis[0].numel() <= 16:
            return total(basis[..., None] * r[:, :, :, None], 2).squeeze(2)
        return torch.stack([matmul(u.T, r[:, k]) for k, u in enumerate(basis)], 1)

    def _lift(self, z: Tensor) -> Tensor:
        """sum_k U_k z_k: `(N, K, R, L)` -> `(N, D, L)`."""
        _, basis = self._cast(z.dtype)
        if basis is None:
            return total(z, 1).squeeze(1)
        if basis[0].numel() <= 16:
            return total(total(basis[..., None] * z[:, :, None], 3), 1).squeeze(3).squeeze(1)
        return sum((matmul(u, z[:, k]) for k, u in enumerate(basis)), z.new_zeros(()))

    def _condition(self, operator: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Spectrum]:
        """Weights, means and spectrum of p(x0 | y), y = A x0 + n, n ~ N(0, noise), noise `(M, M)`; all float64.

        With C = L L^T, noise = N N^T and the singular values of N^-1 A L = P S Q^T,

            Cov  = L Q (1 + S^2)^-1 Q^T L^T
            mean = m + L Q S (1 + S^2)^-1 P^T N^-1 (y - A m)
            p(y) = N(P^T N^-1 (y - A m); 0, 1 + S^2) / |N|

        which holds its accuracy when the noise is far smaller than the prior.
        """
        scale = torch.linalg.cholesky(noise)
        root = self._spectrum.root()
        p, singular, qt = torch.linalg.svd(torch.linalg.solve_triangular(scale, operator @ root, upper=False))
        lq = root @ qt.mT
        gain = 1 / (1 + singular**2)
        rank = singular.shape[1]
        shrink = torch.nn.functional.pad(gain, (0, self._spectrum.dim - rank), value=1.0)

        residual = torch.linalg.solve_triangular(scale, (y - self._means @ operator.T)[..., None], upper=False)
        white = (p.mT @ residual)[..., 0]
        means = self._means + (lq[:, :, :rank] @ (singular * gain * white[:, :rank])[..., None])[..., 0]
        distance = (gain * white[:, :rank] ** 2).sum(1) + (white[:, rank:] ** 2).sum(1)
        log_evidence = -0.5 * distance - torch.log1p(singular**2).sum(1) / 2
        weights = torch.softmax(self._weights.log() + log_evidence, 0)
        return weights, means, Spectrum.from_root(lq * shrink.sqrt()[:, None])


def noise_covariance(noise: float | Tensor, size: int, like: Tensor) -> Tensor:
    """`(M, M)` from a standard deviation, `(M,)` of them, or a covariance `(M, M)`."""
    tensor = torch.as_tensor(noise, dtype=torch.float64, device=like.device)
    if tensor.ndim == 0:
        tensor = tensor.expand(size)
    if tuple(tensor.shape) not in ((size,), (size, size)):
        raise ValueError(
            f"noise must be a standard deviation, ({size},) of them or a ({size}, {size}) covariance; "
            f"got shape {tuple(tensor.shape)}"
        )
    if tensor.ndim == 1:
        if not float(tensor.min()) > 0:
            raise ValueError(f"noise must be positive; got a smallest standard deviation of {float(tensor.min()):g}")
        return torch.diag(tensor**2)
    if int(torch.linalg.cholesky_ex(tensor).info):
        raise ValueError("noise, given as a covariance, must be positive definite; it is not")
    return tensor
