"""What a network's raw output means.

A network is trained to predict some combination of the datum and the noise in x_t = alpha x0 + sigma eps,

    target = a x0 + b eps,

so a parameterisation is a row (a, b) for each time. Two rows are two equations for (x0, eps): the row of x_t itself,
(alpha, sigma), and the target's. One 2x2 solve turns a prediction into x0, and any prediction into any other:

    x0 = (b x_t - sigma target) / (alpha b - sigma a).

| target | a | b | ill-posed where |
| --- | --- | --- | --- |
| x0 | 1 | 0 | sigma = 0 |
| eps | 0 | 1 | alpha = 0 |
| v | -sigma | alpha | never |
| velocity | alpha' | sigma' | never, while the SNR falls |
| score | 0 | -1/sigma | alpha = 0 or sigma = 0 |
| EDM's F, a consistency model's | (1 - c_skip alpha) / c_out | -c_skip sigma / c_out | sigma = 0 |

At sigma = 0 the datum is known whatever the network says: x0 = x_t / alpha.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.schedules import Schedule, as_time, pad_right
from scorefield.tensors import traced


class Row(NamedTuple):
    """target = x0 * `x0` + eps * `eps`; each of the shape of t."""

    x0: Tensor
    eps: Tensor


class Parameterization(abc.ABC):
    """A target and how the network is fed; `row` is all a plain target needs to define."""

    @abc.abstractmethod
    def row(self, schedule: Schedule, t: Tensor) -> Row: ...

    def input_scale(self, schedule: Schedule, t: Tensor) -> Tensor | float:
        """What x_t is multiplied by before the network sees it (EDM's c_in)."""
        return 1.0

    def noise_level(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The number that tells the network how noisy its input is (EDM's c_noise); t itself unless overridden."""
        return t

    def solve(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(x_t's weight, target's weight) in x0 = skip x_t + out target; EDM's c_skip and c_out, for any target.

        Raises:
            ValueError: where the target does not determine x0 (eps at alpha = 0).
        """
        t = as_time(t)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        a, b = self.row(schedule, t)
        determinant = alpha * b - sigma * a
        noiseless = sigma == 0
        skip = torch.where(noiseless, 1 / alpha, b / determinant)
        out = torch.where(noiseless, 0.0, -sigma / determinant)
        _check_finite(self, t, skip, out)
        return skip, out

    def x0(self, schedule: Schedule, x_t: Tensor, output: Tensor, t: Tensor | float) -> Tensor:
        """E[x0 | x_t] from the network's `output`."""
        skip, out = self.solve(schedule, t)
        if traced(known := out == 0) or bool(
            known.any()
        ):  # whatever the network says there: it may well divide by sigma
            output = torch.where(pad_right(known, x_t).to(x_t.device, torch.bool), 0.0, output)
        return pad_right(skip, x_t) * x_t + pad_right(out, x_t) * output

    def target(self, schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        """The regression target a x0 + b eps."""
        a, b = self.row(schedule, as_time(t))
        return pad_right(a, x0) * x0 + pad_right(b, x0) * eps


def convert(
    source: Parameterization, goal: Parameterization, schedule: Schedule, x_t: Tensor, output: Tensor, t: Tensor | float
) -> Tensor:
    """`output`, a prediction in the `source` parameterisation, as one in the `goal` parameterisation.

    (a x0 + b eps) from the 2x2 system of x_t and the source's target, solved once:

        goal = [(a' b - a b') x_t + (alpha b' - sigma a') output] / (alpha b - sigma a).

    Raises:
        ValueError: where the source does not determine (x0, eps): eps or score at alpha = 0, x0 at sigma = 0.
    """
    t = as_time(t)
    alpha, sigma = schedule(t)
    (a, b), (a2, b2) = source.row(schedule, t), goal.row(schedule, t)
    determinant = alpha * b - sigma * a
    of_x, of_output = (a2 * b - a * b2) / determinant, (alpha * b2 - sigma * a2) / determinant
    _check_finite(source, t, of_x, of_output)
    return pad_right(of_x, x_t) * x_t + pad_right(of_output, x_t) * output


def _check_finite(parameterization: Parameterization, t: Tensor, *coefficients: Tensor) -> None:
    finite = torch.isfinite(sum(coefficients, torch.zeros_like(t)))
    if traced(finite):
        return
    if not bool(finite.all()):
        at = float(t[~finite].flatten()[0]) if t.ndim else float(t)
        raise ValueError(
            f"{parameterization} does not determine the prediction at t = {at:g}: the 2x2 system is singular. "
            "Stop short of that time, or use X0(), V() or Velocity()."
        )


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    """sqrt(a^2 + b^2); torch's own has no form in ONNX."""
    return torch.sqrt(a**2 + b**2) if traced(a, b) else torch.hypot(a, b)


@dataclass(frozen=True)
class X0(Parameterization):
    """The datum itself."""

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        return Row(torch.ones_like(t), torch.zeros_like(t))


@dataclass(frozen=True)
class Eps(Parameterization):
    """The noise (DDPM: Ho et al. 2020)."""

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        return Row(torch.zeros_like(t), torch.ones_like(t))


@dataclass(frozen=True)
class V(Parameterization):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022)."""

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        return Row(-schedule.sigma(t), schedule.alpha(t))


@dataclass(frozen=True)
class Velocity(Parameterization):
    """alpha' x0 + sigma' eps: the velocity of the probability-flow ODE, flow matching's target (Lipman et al. 2023)."""

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        return Row(*schedule.rates(t))


@dataclass(frozen=True)
class Score(Parameterization):
    """The score of the kernel, -eps / sigma (Vincent 2011)."""

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        return Row(torch.zeros_like(t), -1 / schedule.sigma(t))


@dataclass(frozen=True)
class EDMPreconditioning(Parameterization):
    """EDM's unit-variance input and target (Karras et al. 2022, section 5), for any alpha.

        c_in = 1 / n,              n^2 = alpha^2 sd^2 + sigma^2,    sd = sigma_data
        c_skip = alpha s^2 / m^2,  m^2 = alpha^2 s^2 + sigma^2
        c_out = sigma r / m^2,     r^2 = sigma^2 sd^2 + alpha^2 s^4

    so the network's target F = (x0 - c_skip x_t) / c_out has unit variance at every t for data of standard deviation
    sd. With s = sd, the default, c_out is smallest; F is then mostly noise wherever sigma < alpha sd, and a network
    must carry all of it from its input to its output. Where that is hard and data are simple (pixels folded into more
    channels than a network has room for, piecewise constant pictures), a smaller `skip_std` s makes F the datum down to
    noise of that size.
    Told to the network: log(sigma / alpha) / 4, which must be finite, so alpha must not reach 0.

    Raises:
        ValueError: for a sigma_data or a skip_std that is not positive.
    """

    sigma_data: float = 1.0
    skip_std: float | None = None

    def __post_init__(self) -> None:
        if not self.sigma_data > 0:
            raise ValueError(f"EDMPreconditioning: sigma_data must be positive; got {self.sigma_data}")
        if self.skip_std is not None and not self.skip_std > 0:
            raise ValueError(f"EDMPreconditioning: skip_std must be positive, or None; got {self.skip_std}")

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        # F = (sigma x0 - alpha s^2 eps) / r, free of the cancellation in (1 - c_skip alpha) / c_out
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        s2 = (self.sigma_data if self.skip_std is None else self.skip_std) ** 2
        r = _hypot(sigma * self.sigma_data, alpha * s2)
        return Row(sigma / r, -alpha * s2 / r)

    def input_scale(self, schedule: Schedule, t: Tensor) -> Tensor:
        return 1 / _hypot(schedule.alpha(t) * self.sigma_data, schedule.sigma(t))

    def noise_level(self, schedule: Schedule, t: Tensor) -> Tensor:
        return torch.clamp(-schedule.log_snr(t), -80, 80) / 4  # finite at both ends: sigma = 0 and alpha = 0


@dataclass(frozen=True)
class ConsistencyPreconditioning(Parameterization):
    """A consistency model's (Song et al. 2023, appendix C): exact where its paths end, at noise of `sigma_min`.

        f(x) = c_skip x + c_out F(c_in x, 250 log S),    x = x_t / alpha, S the noise it is told, sd = sigma_data
        c_skip = sd^2 / ((S - sigma_min)^2 + sd^2),   c_out = sd (S - sigma_min) / n,   c_in = 1 / n,   n^2 = S^2 + sd^2

    What it calls a datum has noise of sigma_min already, so noise s = sigma / alpha is added to that: S^2 = s^2 +
    sigma_min^2. So f is the identity at s = 0, and a jump adds what its own sampler adds, sqrt(S^2 - sigma_min^2).

    Raises:
        ValueError: for a sigma_data or a sigma_min that is not positive.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.002

    def __post_init__(self) -> None:
        for name in ("sigma_data", "sigma_min"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ConsistencyPreconditioning: {name} must be positive; got {getattr(self, name)}")

    def told(self, schedule: Schedule, t: Tensor) -> Tensor:
        """S."""
        return torch.sqrt(schedule.noise_ratio(t) ** 2 + self.sigma_min**2)

    def _scales(self, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip and c_out, of x_t / alpha."""
        total = self.told(schedule, t)
        # S - sigma_min without its cancellation near the data
        beyond, sd = schedule.noise_ratio(t) ** 2 / (total + self.sigma_min), self.sigma_data
        return sd**2 / (beyond**2 + sd**2), beyond * sd / torch.sqrt(total**2 + sd**2)

    def solve(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = as_time(t)
        skip, out = self._scales(schedule, t)
        skip = skip / schedule.alpha(t)
        _check_finite(self, t, skip, out)
        return skip, out

    def row(self, schedule: Schedule, t: Tensor) -> Row:
        ratio = schedule.noise_ratio(t)
        skip, out = self._scales(schedule, t)
        out = torch.where(ratio == 0, 1.0, out)  # nothing is left to say there
        return Row((1 - skip) / out, -skip * ratio / out)

    def input_scale(self, schedule: Schedule, t: Tensor) -> Tensor:
        return 1 / (schedule.alpha(t) * torch.sqrt(self.told(schedule, t) ** 2 + self.sigma_data**2))

    def noise_level(self, schedule: Schedule, t: Tensor) -> Tensor:
        return 250 * torch.log(self.told(schedule, t))
