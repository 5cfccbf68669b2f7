"""Noise schedules.

A schedule is a pair of functions of time, t in [0, 1], 0 = data and 1 = noise, in the perturbation kernel

    p(x_t | x_0) = N(x_t; alpha(t) x_0, sigma(t)^2 I).

All else follows from it: the half log-SNR lambda = log(alpha / sigma), the linear SDE dx = f(t) x dt + g(t) dw with

    f = alpha' / alpha,    g^2 = d(sigma^2)/dt - 2 f sigma^2 = -2 sigma^2 lambda',

its transitions, its posterior q(x_s | x_t, x_0) and the Gaussian it ends in. Derivatives are taken by autograd, never
written a second time. Arithmetic is float64 on the CPU; the product with `x` is where it is cast.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor


def as_time(t: Tensor | float) -> Tensor:
    """`t` as float64 on the CPU, checked to lie in [0, 1].

    Raises:
        ValueError: if any entry is outside [0, 1] or NaN.
    """
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if t.numel() and not bool(((t >= 0) & (t <= 1)).all()):
        worst = "NaN" if bool(t.isnan().any()) else f"{float(t.max() if t.max() > 1 else t.min()):g}"
        raise ValueError(
            f"t must lie in [0, 1] (0 = data, 1 = noise); got {worst}. "
            "Integer timesteps k of K belong to a Discrete schedule at t = (k + 1) / K."
        )
    return t


def pad_right(coefficient: Tensor | float, x: Tensor) -> Tensor:
    """`coefficient` `()` or `(B,)` in the dtype and on the device of `x`, shaped to multiply `x` `(B, *event)`."""
    c = torch.as_tensor(coefficient)
    if c.ndim == 0:
        return c  # a CPU scalar multiplies a tensor on any device, in that tensor's dtype, without a transfer
    return c.to(x.device, x.dtype).reshape(c.shape + (1,) * (x.ndim - c.ndim))


def derivative(fn: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d fn / dt elementwise, shape of `t`."""
    # At t = 0 itself sigma = sqrt(...) has no finite derivative where sigma^2 has: evaluate a hair above. And inference
    # mode, in which samplers may be called, knows no gradients: step out of it.
    with torch.inference_mode(False), torch.enable_grad():
        t = t.detach().clone().clamp(min=1e-30).requires_grad_()
        (gradient,) = torch.autograd.grad(fn(t).sum(), t)
    return gradient


class Moments(NamedTuple):
    """Mean and standard deviation of an isotropic Gaussian."""

    mean: Tensor | float
    std: Tensor | float


class Transition(NamedTuple):
    """p(x_t | x_s) = N(scale x_s, std^2 I) for s <= t."""

    scale: Tensor
    std: Tensor


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) = N(x_t_scale x_t + x0_scale x_0, std^2 I) for s <= t."""

    x_t_scale: Tensor
    x0_scale: Tensor
    std: Tensor


class Schedule(abc.ABC):
    """A forward process: subclasses give `alpha` and `sigma`, float64 in and out, elementwise in `t`."""

    @abc.abstractmethod
    def alpha(self, t: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def sigma(self, t: Tensor) -> Tensor: ...

    def __call__(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64, shape of `t`."""
        t = as_time(t)
        return self.alpha(t), self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha / sigma): half the log signal-to-noise ratio; +inf where sigma = 0."""
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))

    def noise_ratio(self, t: Tensor | float) -> Tensor:
        """s(t) = sigma / alpha = exp(-lambda): the noise scale of x_t / alpha. +inf where alpha = 0."""
        alpha, sigma = self(t)
        return sigma / alpha

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """The t at which lambda(t) = `log_snr`, clamped to [0, 1]."""
        target = torch.as_tensor(log_snr, dtype=torch.float64, device="cpu")
        ends = self.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64))
        t = self._time_of_noise_ratio(torch.exp(-target)).clamp(0, 1)
        return torch.where(target >= ends[0], 0.0, torch.where(target <= ends[1], 1.0, t))

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        """The t at which sigma / alpha = s, by bisection to the last bit; a schedule with a closed form gives it."""
        target, low, high = -torch.log(s), torch.zeros_like(s), torch.ones_like(s)
        for _ in range(110):  # halvings: 2^-110 absolute, so relative precision too down to t = 1e-17
            middle = (low + high) / 2
            noisier = self.log_snr(middle) < target
            low, high = torch.where(noisier, low, middle), torch.where(noisier, middle, high)
        return (low + high) / 2

    def f(self, t: Tensor | float) -> Tensor:
        """Drift coefficient f(t) = alpha' / alpha, shape of `t`."""
        t = as_time(t)
        return derivative(self.alpha, t) / self.alpha(t)

    def g2(self, t: Tensor | float) -> Tensor:
        """Squared diffusion coefficient g(t)^2 = d(sigma^2)/dt - 2 f sigma^2, shape of `t`."""
        t = as_time(t)
        return derivative(lambda u: self.sigma(u) ** 2, t) - 2 * self.f(t) * self.sigma(t) ** 2

    def transition(self, s: Tensor | float, t: Tensor | float) -> Transition:
        """p(x_t | x_s), s <= t, of the SDE: scale alpha_t / alpha_s, variance sigma_t^2 - scale^2 sigma_s^2."""
        s, t = _ordered(s, t)
        scale = self.alpha(t) / self.alpha(s)
        return Transition(scale, self.sigma(t) * torch.sqrt(self._noise_gained(s, t)))

    def posterior(self, s: Tensor | float, t: Tensor | float) -> Posterior:
        """q(x_s | x_t, x_0), s <= t, of the SDE (Ho et al. 2020, eq. 6-7, for any alpha and sigma)."""
        s, t = _ordered(s, t)
        gained = self._noise_gained(s, t)
        kept = 1 - gained  # = SNR(t) / SNR(s)
        alpha_s, sigma_s = self.alpha(s), self.sigma(s)
        # x_t_scale = (alpha_t/alpha_s) (sigma_s/sigma_t)^2 = (alpha_s/alpha_t) SNR(t)/SNR(s), written to survive
        # alpha_t = 0
        ratio = torch.where(sigma_s == 0, 0.0, sigma_s / self.sigma(t))
        return Posterior(self.alpha(t) / alpha_s * ratio**2, alpha_s * gained, sigma_s * torch.sqrt(1 - kept))

    def _noise_gained(self, s: Tensor, t: Tensor) -> Tensor:
        """1 - SNR(t)/SNR(s), exact to the last digits as s -> t."""
        return torch.where(s == t, 0.0, -torch.expm1(2 * (self.log_snr(t) - self.log_snr(s))))

    def prior(self, t: Tensor | float = 1.0, *, mean: Tensor | float = 0.0, std: Tensor | float = 1.0) -> Moments:
        """The Gaussian of x_t's mean and variance, for data of the given `mean` and `std`: where sampling starts.

        It is N(alpha mean, alpha^2 std^2 + sigma^2), not N(0, I) or N(0, sigma^2 I): the difference counts wherever
        the terminal SNR is not small (VE with a small sigma_max, DDPM's linear betas with few steps).
        """
        alpha, sigma = (float(v) for v in self(t))
        if isinstance(std, Tensor):
            return Moments(alpha * mean, torch.sqrt((alpha * std) ** 2 + sigma**2))
        return Moments(alpha * mean, math.hypot(alpha * std, sigma))

    @property
    def terminal_snr(self) -> float:
        """SNR(1) = alpha(1)^2 / sigma(1)^2: how much of the data survives at t = 1."""
        alpha, sigma = self(1.0)
        return float((alpha / sigma) ** 2)

    def simulate(self, x0: Tensor, times: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Paths of the forward SDE from `x0` `(B, *event)` at increasing `times` `(N,)`: `(N, B, *event)`.

        Starts from `x0` at t = 0 and uses the Gaussian transitions: exact in law, at any spacing.
        """
        times = as_time(times)
        if times.ndim != 1 or bool((times.diff() < 0).any()):
            raise ValueError(f"times must be one-dimensional and increasing; got {times.tolist()}")
        x, s, path = x0, torch.zeros((), dtype=torch.float64), []
        if float(self.sigma(s)) > 0:  # a process that starts noisy (geometric VE): its law at t = 0 is already blurred
            x = pad_right(self.alpha(s), x) * x + pad_right(self.sigma(s), x) * _randn_like(x, generator)
        for t in times:
            scale, std = self.transition(s, t)
            x = pad_right(scale, x) * x + pad_right(std, x) * _randn_like(x, generator)
            path.append(x)
            s = t
        return torch.stack(path)

    def perturb(self, x0: Tensor, t: Tensor | float, eps: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma eps for `x0`, `eps` `(B, *event)` and `t` `()` or `(B,)`."""
        alpha, sigma = self(t)
        return pad_right(alpha, x0) * x0 + pad_right(sigma, x0) * eps


def _randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def _ordered(s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor]:
    s, t = as_time(s), as_time(t)
    if bool(torch.gt(s, t).any()):
        raise ValueError("s must not exceed t: the process runs from data (0) to noise (1)")
    return s, t


def _positive(schedule: Schedule, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{type(schedule).__name__}: {name} must be a positive number; got {value}")


def _increasing(schedule: Schedule, **values: float) -> None:
    _positive(schedule, **values)
    (low_name, low), (high_name, high) = values.items()
    if low >= high:
        raise ValueError(f"{type(schedule).__name__}: {low_name} must be below {high_name}; got {low} and {high}")


@dataclass(frozen=True)
class VP(Schedule):
    """Variance-preserving SDE with beta linear in t; DDPM's chain in the limit (Song et al. 2021, eq. 11)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _increasing(self, beta_min=self.beta_min, beta_max=self.beta_max)

    @classmethod
    def from_terminal_alpha(cls, alpha: float, *, beta_min: float = 0.1) -> VP:
        """The VP process that ends with alpha(1) = `alpha`: (beta_min + beta_max) / 4 = -log alpha."""
        if not 0 < alpha < math.exp(-beta_min / 2):
            raise ValueError(f"alpha must lie in (0, exp(-beta_min / 2)); got {alpha}")
        return cls(beta_min, -4 * math.log(alpha) - beta_min)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))  # expm1: exact near t = 0

    def _integral(self, t: Tensor) -> Tensor:
        """B(t), the integral of beta from 0 to t."""
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def _time_of_integral(self, integral: Tensor) -> Tensor:
        """The root t of B(t) = `integral`, in the form without cancellation."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return self._time_of_integral(torch.log1p(s**2))  # s^2 = exp(B) - 1


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-VP SDE: VP's drift with sigma = 1 - exp(-B), a smaller variance throughout (Song et al. 2021, eq. 13)."""

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._integral(t))

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return self._time_of_integral(2 * torch.asinh(s / 2))  # s = 2 sinh(B / 2)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance-exploding SDE, sigma geometric in t; SMLD / NCSN in the limit (Song et al. 2021, eq. 9).

    sigma(t)^2 = sigma_min^2 ((sigma_max / sigma_min)^(2t) - 1), so that t = 0 is the data itself. With `from_zero` off
    the last term is left out, as most implementations do: t = 0 is then the data blurred by sigma_min. The SDE is the
    same.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    from_zero: bool = True

    def __post_init__(self) -> None:
        _increasing(self, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t) + 0 * t  # + 0 t: a constant that autograd can differentiate

    def sigma(self, t: Tensor) -> Tensor:
        log_ratio = math.log(self.sigma_max / self.sigma_min)
        if self.from_zero:
            return self.sigma_min * torch.sqrt(torch.expm1(2 * log_ratio * t))
        return self.sigma_min * torch.exp(log_ratio * t)

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        log_ratio, ratio = math.log(self.sigma_max / self.sigma_min), s / self.sigma_min
        return (torch.log1p(ratio**2) / 2 if self.from_zero else torch.log(ratio)) / log_ratio


@dataclass(frozen=True)
class VEPower(Schedule):
    """The VE SDE dx = base^t dw: sigma(t)^2 = (base^(2t) - 1) / (2 log base)."""

    base: float = 25.0

    def __post_init__(self) -> None:
        if not self.base > 1:
            raise ValueError(f"VEPower: base must exceed 1; got {self.base}")

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t) + 0 * t

    def sigma(self, t: Tensor) -> Tensor:
        log_base = math.log(self.base)
        return torch.sqrt(torch.expm1(2 * log_base * t) / (2 * log_base))

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        log_base = math.log(self.base)
        return torch.log1p(2 * log_base * s**2) / (2 * log_base)


@dataclass(frozen=True)
class Brownian(Schedule):
    """Brownian motion started at the data, dx = scale dw: sigma(t) = scale sqrt(t)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t) + 0 * t

    def sigma(self, t: Tensor) -> Tensor:
        return self.scale * torch.sqrt(t)

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return (s / self.scale) ** 2


@dataclass(frozen=True)
class EDM(Schedule):
    """sigma(t) = t sigma_max, alpha = 1 (Karras et al. 2022). `sigma_min` is where their grid leaves for sigma = 0."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _increasing(self, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t) + 0 * t

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return s / self.sigma_max


@dataclass(frozen=True)
class Cosine(Schedule):
    """Cosine VP: alpha = cos(pi t / 2), reached with slope, from alpha(0) = 1 to alpha(1) = `alpha_min`.

    Nichol & Dhariwal's (2021) schedule without their offset; the angle stops at arccos(alpha_min), which does the work
    of their clipping: the default keeps a terminal SNR of 2.4e-9, `alpha_min=0` reaches pure noise.
    """

    alpha_min: float = math.cos(math.pi / 2 * 0.99997)  # as clipping beta at 0.999 does at 1,000 steps

    def __post_init__(self) -> None:
        if not 0 <= self.alpha_min < 1:
            raise ValueError(f"Cosine: alpha_min must lie in [0, 1); got {self.alpha_min}")

    def alpha(self, t: Tensor) -> Tensor:
        # cos(pi/2) is 6e-17 in floating point: a sine of the complement is exactly 0 where it should be
        return torch.sin(math.asin(self.alpha_min) * t + math.pi / 2 * (1 - t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(math.acos(self.alpha_min) * t)

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return torch.atan(s) / math.acos(self.alpha_min)


@dataclass(frozen=True)
class Rectified(Schedule):
    """The straight path x_t = (1 - t) x0 + t eps of rectified flow and flow matching (Liu et al. 2023)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t + 0

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return 1 / (1 + 1 / s)  # 0 and 1 at s = 0 and infinity


@dataclass(frozen=True, eq=False)
class Discrete(Schedule):
    """A DDPM chain of K steps as a continuous VP process: step k = 0..K-1 stands at t = (k + 1) / K.

    Between the knots lambda is interpolated monotonically (PCHIP); below the first knot sigma/alpha follows a power of
    t that meets it with its slope and vanishes at 0. Give `betas` or `alphas_cumprod`, `(K,)`.

    Raises:
        ValueError: if not exactly one of the two is given, or alpha_bar does not fall strictly inside (0, 1).
    """

    betas: Sequence[float] | Tensor | None = None
    alphas_cumprod: Sequence[float] | Tensor | None = None
    _knots: Tensor = field(init=False, repr=False)
    _cubics: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.betas is None) == (self.alphas_cumprod is None):
            raise ValueError("Discrete: give either betas or alphas_cumprod")
        if self.betas is not None:
            abar = torch.cumprod(1 - torch.as_tensor(self.betas, dtype=torch.float64, device="cpu"), 0)
        else:
            abar = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64, device="cpu")
        name = "betas" if self.betas is not None else "alphas_cumprod"
        if abar.ndim != 1 or len(abar) < 2:
            raise ValueError(f"Discrete: {name} must be a sequence of at least 2 steps; got shape {tuple(abar.shape)}")
        if not bool(((abar > 0) & (abar < 1)).all() and (abar.diff() < 0).all()):
            raise ValueError(
                f"Discrete: {name} must make alpha_bar fall strictly inside (0, 1); "
                f"got alpha_bar from {float(abar[0]):g} to {float(abar[-1]):g}"
            )
        knots = torch.arange(1, len(abar) + 1, dtype=torch.float64) / len(abar)
        log_snr = (torch.log(abar) - torch.log1p(-abar)) / 2
        object.__setattr__(self, "_knots", knots)
        cubics = PchipInterpolator(knots.numpy(), log_snr.numpy()).c
        object.__setattr__(self, "_cubics", torch.from_numpy(np.ascontiguousarray(cubics)))

    @classmethod
    def linear(cls, steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> Discrete:
        """DDPM's linear betas (Ho et al. 2020, section 4)."""
        return cls(betas=torch.linspace(beta_first, beta_last, steps, dtype=torch.float64))

    @property
    def steps(self) -> int:
        """K, the number of steps of the chain."""
        return len(self._knots)

    def log_snr(self, t: Tensor) -> Tensor:
        first = self._knots[0]
        i = torch.searchsorted(self._knots, t.detach().contiguous(), right=True).sub(1).clamp(0, self.steps - 2)
        d = torch.clamp(t, min=float(first)) - self._knots[i]
        c3, c2, c1, c0 = (c[i] for c in self._cubics)
        inside = ((c3 * d + c2) * d + c1) * d + c0
        power = torch.clamp(self._cubics[2, 0] * first, max=-1e-3)  # PCHIP may end flat; sigma must still vanish at 0
        return inside + power * torch.log(torch.clamp(t / first, max=1.0))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(2 * self.log_snr(t)))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-2 * self.log_snr(t)))
