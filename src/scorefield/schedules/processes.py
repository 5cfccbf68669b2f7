"""The forward processes of the field, as pairs (alpha, sigma).

In p(x_t | x_0) = N(alpha x_0, sigma^2 I) and dx = f x dt + g dw, with B(t) = int_0^t beta, r = sigma_max / sigma_min:

    process    alpha        sigma^2                               f             g^2
    VP         exp(-B/2)    1 - exp(-B)                           -beta/2       beta
    SubVP      exp(-B/2)    (1 - exp(-B))^2                       -beta/2       beta (1 - exp(-2B))
    VE         1            sigma_min^2 (r^(2t) - 1)              0             2 log(r) sigma_min^2 r^(2t)
    VEPower    1            (base^(2t) - 1) / (2 log base)        0             base^(2t)
    Brownian   1            scale^2 t                             0             scale^2
    EDM        1            sigma_max^2 t^2                       0             2 sigma_max^2 t
    Cosine     cos(c t)     sin^2(c t), c = arccos(alpha_min)     -c tan(c t)   2 c tan(c t)
    Rectified  1 - t        t^2                                   -1/(1 - t)    2t/(1 - t)
    Discrete   sqrt(abar_k) 1 - abar_k, abar_k = prod_{i <= k} (1 - beta_i), at t = (k + 1)/K; lambda interpolated

Only alpha and sigma are written below; f and g^2 follow from them in `Schedule`. A process whose noise ratio s =
sigma / alpha has an inverse in closed form gives that too: VP's is B = log(1 + s^2), sub-VP's B = 2 asinh(s / 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator  # pyright: ignore[reportMissingTypeStubs]  # scipy has none
from torch import Tensor

from scorefield.schedules.base import NEAR, Schedule
from scorefield.tensors import as_tensor, traced


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
    """Variance-preserving SDE with beta linear in t; DDPM's chain in the limit (Song et al. 2021, eq. 11).

    Raises:
        ValueError: for a beta that is not positive, or a beta_min that is not below beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _increasing(self, beta_min=self.beta_min, beta_max=self.beta_max)

    @classmethod
    def from_terminal_alpha(cls, alpha: float, *, beta_min: float = 0.1) -> VP:
        """The VP process that ends with alpha(1) = `alpha`: (beta_min + beta_max) / 4 = -log alpha.

        Raises:
            ValueError: for an alpha outside (0, exp(-beta_min / 2)).
        """
        if not 0 < alpha < math.exp(-beta_min / 2):
            raise ValueError(f"alpha must lie in (0, exp(-beta_min / 2)); got {alpha}")
        return cls(beta_min, -4 * math.log(alpha) - beta_min)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))  # expm1: exact near t = 0

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = t + NEAR
        alpha, beta = self.alpha(u), self._beta(u)
        return -beta / 2 * alpha, beta * alpha**2 / (2 * self.sigma(u))

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

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

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = t + NEAR
        alpha, beta = self.alpha(u), self._beta(u)
        return -beta / 2 * alpha, beta * alpha**2

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return self._time_of_integral(2 * torch.asinh(s / 2))  # s = 2 sinh(B / 2)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance-exploding SDE, sigma geometric in t; SMLD / NCSN in the limit (Song et al. 2021, eq. 9).

    sigma(t)^2 = sigma_min^2 ((sigma_max / sigma_min)^(2t) - 1), so that t = 0 is the data itself. With `from_zero` off
    the last term is left out, as most implementations do: t = 0 is then the data blurred by sigma_min. The SDE is the
    same.

    Raises:
        ValueError: for a sigma that is not positive, or a sigma_min that is not below sigma_max.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    from_zero: bool = True

    def __post_init__(self) -> None:
        _increasing(self, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def alpha(self, t: Tensor) -> Tensor:
        return 0 * t + 1  # a constant that autograd can differentiate

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
    """The VE SDE dx = base^t dw: sigma(t)^2 = (base^(2t) - 1) / (2 log base).

    Raises:
        ValueError: for a base that does not exceed 1.
    """

    base: float = 25.0

    def __post_init__(self) -> None:
        if not self.base > 1:
            raise ValueError(f"VEPower: base must exceed 1; got {self.base}")

    def alpha(self, t: Tensor) -> Tensor:
        return 0 * t + 1

    def sigma(self, t: Tensor) -> Tensor:
        log_base = math.log(self.base)
        return torch.sqrt(torch.expm1(2 * log_base * t) / (2 * log_base))

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        log_base = math.log(self.base)
        return torch.log1p(2 * log_base * s**2) / (2 * log_base)


@dataclass(frozen=True)
class Brownian(Schedule):
    """Brownian motion started at the data, dx = scale dw: sigma(t) = scale sqrt(t).

    Raises:
        ValueError: for a scale that is not positive.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)

    def alpha(self, t: Tensor) -> Tensor:
        return 0 * t + 1

    def sigma(self, t: Tensor) -> Tensor:
        return self.scale * torch.sqrt(t)

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return (s / self.scale) ** 2


@dataclass(frozen=True)
class EDM(Schedule):
    """sigma(t) = t sigma_max, alpha = 1 (Karras et al. 2022). `sigma_min` is where their grid leaves for sigma = 0.

    Raises:
        ValueError: for a sigma that is not positive, or a sigma_min that is not below sigma_max.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _increasing(self, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def alpha(self, t: Tensor) -> Tensor:
        return 0 * t + 1

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return s / self.sigma_max


@dataclass(frozen=True)
class Cosine(Schedule):
    """Cosine VP: alpha = cos(pi t / 2), reached with slope, from alpha(0) = 1 to alpha(1) = `alpha_min`.

    Nichol & Dhariwal's (2021) schedule without their offset; the angle stops at arccos(alpha_min), which does the work
    of their clipping: the default keeps a terminal SNR of 2.4e-9, `alpha_min=0` reaches pure noise.

    Raises:
        ValueError: for an alpha_min outside [0, 1).
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

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, high = math.asin(self.alpha_min), math.acos(self.alpha_min)
        return (low - math.pi / 2) * torch.cos(low * t + math.pi / 2 * (1 - t)), high * torch.cos(high * t)

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return torch.atan(s) / math.acos(self.alpha_min)


@dataclass(frozen=True)
class Rectified(Schedule):
    """The straight path x_t = (1 - t) x0 + t eps of rectified flow and flow matching (Liu et al. 2023)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t + 0

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 0 * t - 1, 0 * t + 1  # constants of t, which may ask for their derivatives

    def _time_of_noise_ratio(self, s: Tensor) -> Tensor:
        return 1 / (1 + 1 / s)  # 0 and 1 at s = 0 and infinity


@dataclass(frozen=True, eq=False)
class Discrete(Schedule):
    """A DDPM chain of K steps as a continuous VP process: step k = 0..K-1 stands at t = (k + 1) / K.

    Between the knots lambda is interpolated monotonically (PCHIP); below the first knot sigma/alpha follows a power of
    t that meets it with its slope and vanishes at 0. Give `betas` or `alphas_cumprod`, `(K,)`. A chain may end in pure
    noise, alpha_bar = 0 (Lin et al. 2024): alpha/sigma is then a power of 1 - t above the last knot before it.

    Raises:
        ValueError: if not exactly one of the two is given, or alpha_bar does not fall from below 1, to 0 at the lowest.
    """

    betas: Sequence[float] | Tensor | None = None
    alphas_cumprod: Sequence[float] | Tensor | None = None
    _knots: Tensor = field(init=False, repr=False)
    _cubics: Tensor = field(init=False, repr=False)
    # dlambda/dt where a chain to alpha_bar = 0 leaves its knots
    _last_slope: float | None = field(init=False, repr=False)

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
        if not bool(((abar >= 0) & (abar < 1)).all() and (abar.diff() < 0).all()):
            raise ValueError(
                f"Discrete: {name} must make alpha_bar fall from below 1, to 0 at the lowest; "
                f"got alpha_bar from {float(abar[0]):g} to {float(abar[-1]):g}{_rise(abar)}"
            )
        knots = torch.arange(1, len(abar) + 1, dtype=torch.float64, device="cpu") / len(abar)
        log_snr = (torch.log(abar) - torch.log1p(-abar)) / 2
        finite = torch.isfinite(log_snr)
        if int(finite.sum()) < 2:
            raise ValueError(f"Discrete: {name} must have at least 2 steps before alpha_bar = 0; got {len(abar) - 1}")
        curve = PchipInterpolator(knots[finite].numpy(), log_snr[finite].numpy())
        object.__setattr__(self, "_knots", knots)
        object.__setattr__(self, "_cubics", as_tensor(np.ascontiguousarray(curve.c)))
        object.__setattr__(self, "_last_slope", None if bool(finite[-1]) else float(curve(float(knots[-2]), 1)))

    @classmethod
    def linear(cls, steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> Discrete:
        """DDPM's linear betas (Ho et al. 2020, section 4)."""
        return cls(betas=torch.linspace(beta_first, beta_last, steps, dtype=torch.float64, device="cpu"))

    @property
    def steps(self) -> int:
        """K, the number of steps of the chain."""
        return len(self._knots)

    def log_snr(self, t: Tensor) -> Tensor:
        first, last = 1 / self.steps, (self._cubics.shape[1] + 1) / self.steps
        i = self._knots_up_to(t.detach()).sub(1).clamp(0, self._cubics.shape[1] - 1)
        d = torch.clamp(t, first, last) - self._knots[i]
        c3, c2, c1, c0 = (c[i] for c in self._cubics)
        inside = ((c3 * d + c2) * d + c1) * d + c0
        power = torch.clamp(self._cubics[2, 0] * first, max=-1e-3)  # PCHIP may end flat; sigma must still vanish at 0
        inside = inside + power * torch.log(torch.clamp(t / first, max=1.0))
        if self._last_slope is None:
            return inside
        power = max(-self._last_slope * (1 - last), 1e-3)
        return inside + power * torch.log(torch.clamp((1 - t) / (1 - last), max=1.0))

    def _knots_up_to(self, t: Tensor) -> Tensor:
        """How many knots are at or below `t`, int64, shape of `t`."""
        if traced(t):  # there is no search in ONNX
            return (self._knots <= t[..., None]).sum(-1)
        return torch.searchsorted(self._knots, t.contiguous(), right=True)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(2 * self.log_snr(t)))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-2 * self.log_snr(t)))


def _rise(abar: Tensor) -> str:
    """Where alpha_bar rises, if it does."""
    rising = (abar.diff() >= 0).nonzero()
    return f", and rising at step {int(rising[0, 0]) + 1}" if len(rising) else ""
