"""What a noise schedule is.

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
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.randomness import Randomness, randn_like
from scorefield.tensors import as_tensor, traced


def as_time(t: Tensor | float) -> Tensor:
    """`t` as float64 on the CPU, checked to lie in [0, 1], unless a program is being made of it (`tensors.traced`).

    Raises:
        ValueError: if any entry is outside [0, 1] or NaN.
    """
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if not t.numel() or traced(t):
        return t
    bare = t.detach()
    low, high = (float(bare),) * 2 if t.ndim == 0 else (float(end) for end in torch.aminmax(bare))
    if not (low >= 0 and high <= 1):  # false for NaN
        raise ValueError(
            f"t must lie in [0, 1] (0 = data, 1 = noise); got {high if high > 1 else low:g}. "
            "Integer timesteps k of K belong to a Discrete schedule at t = (k + 1) / K."
        )
    return t


def pad_right(coefficient: Tensor | float, x: Tensor) -> Tensor:
    """`coefficient` `()` or `(B,)` in the dtype and on the device of `x`, shaped to multiply `x` `(B, *event)`."""
    c = as_tensor(coefficient)
    if c.ndim == 0:
        return c  # a CPU scalar multiplies a tensor on any device, in that tensor's dtype, without a transfer
    return c.to(x.device, x.dtype).reshape(c.shape + (1,) * (x.ndim - c.ndim))


def floats(values: Tensor) -> list[float]:
    """A one-dimensional tensor as Python numbers."""
    # torch's stub says `list`, not of what
    return values.tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


NEAR = 1e-30  # a time after 0


def derivative(fn: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d fn / dt elementwise, shape of `t`; itself differentiable, in t and in whatever else `fn` depends on."""

    if traced(t):  # forwards: torch.export has no backward pass inside a program
        return torch.func.jvp(fn, (t + NEAR,), (torch.ones_like(t),))[1]

    def total(u: Tensor) -> Tensor:
        return fn(u).sum()

    # At t = 0 itself sigma = sqrt(...) has no finite derivative where sigma^2 has: evaluate a hair above. And inference
    # mode, in which samplers may be called, knows no gradients: step out of it.
    with torch.inference_mode(False):
        slope = torch.func.grad(total)(t + NEAR)
    return slope if torch.is_grad_enabled() else slope.detach()


class PriorMoments(NamedTuple):
    """Mean and standard deviation of an isotropic Gaussian."""

    mean: Tensor | float
    std: Tensor | float


class Transition(NamedTuple):
    """p(x_t | x_s) = N(scale x_s, std^2 I) for s <= t."""

    scale: Tensor
    std: Tensor


class ForwardPosterior(NamedTuple):
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

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt) at `t`, by autograd; a schedule that is asked often gives them itself."""
        return derivative(self.alpha, t), derivative(self.sigma, t)

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
        ends = self.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu"))
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
        """p(x_t | x_s), s <= t, of the SDE: scale alpha_t / alpha_s, variance sigma_t^2 - scale^2 sigma_s^2.

        Raises:
            ValueError: for an s above t, or a time outside [0, 1].
        """
        s, t = _ordered(s, t)
        scale = self.alpha(t) / self.alpha(s)
        return Transition(scale, self.sigma(t) * torch.sqrt(self._noise_gained(s, t)))

    def posterior(self, s: Tensor | float, t: Tensor | float) -> ForwardPosterior:
        """q(x_s | x_t, x_0), s <= t, of the SDE (Ho et al. 2020, eq. 6-7, for any alpha and sigma).

            N(a (sigma_s / sigma_t)^2 x_t + alpha_s (b / sigma_t)^2 x_0, (b sigma_s / sigma_t)^2 I)

        with p(x_t | x_s) = N(a x_s, b^2 I), and (b / sigma_t)^2 = 1 - SNR(t) / SNR(s).

        Raises:
            ValueError: for an s above t, or a time outside [0, 1].
        """
        s, t = _ordered(s, t)
        gained = self._noise_gained(s, t)
        kept = 1 - gained  # = SNR(t) / SNR(s)
        alpha_s, sigma_s = self.alpha(s), self.sigma(s)
        # x_t_scale = (alpha_t/alpha_s) (sigma_s/sigma_t)^2 = (alpha_s/alpha_t) SNR(t)/SNR(s), written to survive
        # alpha_t = 0
        ratio = torch.where(sigma_s == 0, 0.0, sigma_s / self.sigma(t))
        return ForwardPosterior(self.alpha(t) / alpha_s * ratio**2, alpha_s * gained, sigma_s * torch.sqrt(1 - kept))

    def _noise_gained(self, s: Tensor, t: Tensor) -> Tensor:
        """1 - SNR(t)/SNR(s), exact to the last digits as s -> t."""
        return torch.where(s == t, 0.0, -torch.expm1(2 * (self.log_snr(t) - self.log_snr(s))))

    def prior(self, t: Tensor | float = 1.0, *, mean: Tensor | float = 0.0, std: Tensor | float = 1.0) -> PriorMoments:
        """The Gaussian of x_t's mean and variance, for data of the given `mean` and `std`: where sampling starts.

        It is N(alpha mean, alpha^2 std^2 + sigma^2), not N(0, I) or N(0, sigma^2 I): the difference counts wherever
        the terminal SNR is not small (VE with a small sigma_max, DDPM's linear betas with few steps).
        """
        alpha, sigma = (float(v) for v in self(t))
        if isinstance(std, Tensor):
            return PriorMoments(alpha * mean, torch.sqrt((alpha * std) ** 2 + sigma**2))
        return PriorMoments(alpha * mean, math.hypot(alpha * std, sigma))

    @property
    def terminal_snr(self) -> float:
        """SNR(1) = alpha(1)^2 / sigma(1)^2: how much of the data survives at t = 1."""
        alpha, sigma = self(1.0)
        return float((alpha / sigma) ** 2)

    def simulate(self, x0: Tensor, times: Tensor, *, generator: Randomness = None) -> Tensor:
        """Paths of the forward SDE from `x0` `(B, *event)` at increasing `times` `(N,)`: `(N, B, *event)`.

        Starts from `x0` at t = 0 and uses the Gaussian transitions: exact in law, at any spacing.

        Raises:
            ValueError: for times that do not increase within [0, 1].
        """
        times = as_time(times)
        if times.ndim != 1 or bool((times.diff() < 0).any()):
            raise ValueError(f"times must be one-dimensional and increasing; got {floats(times)}")
        x, s = x0, torch.zeros((), dtype=torch.float64, device="cpu")
        path: list[Tensor] = []
        if float(self.sigma(s)) > 0:  # a process that starts noisy (geometric VE): its law at t = 0 is already blurred
            x = pad_right(self.alpha(s), x) * x + pad_right(self.sigma(s), x) * randn_like(x, generator)
        for t in times:
            scale, std = self.transition(s, t)
            x = pad_right(scale, x) * x + pad_right(std, x) * randn_like(x, generator)
            path.append(x)
            s = t
        return torch.stack(path)

    def perturb(self, x0: Tensor, t: Tensor | float, eps: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma eps for `x0`, `eps` `(B, *event)` and `t` `()` or `(B,)`."""
        alpha, sigma = self(t)
        return pad_right(alpha, x0) * x0 + pad_right(sigma, x0) * eps


def _ordered(s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor]:
    s, t = as_time(s), as_time(t)
    if bool(torch.gt(s, t).any()):
        raise ValueError("s must not exceed t: the process runs from data (0) to noise (1)")
    return s, t
