"""The probability-flow ODE in the angle of signal and noise.

With s = sigma / alpha, sd the data's standard deviation and m its mean, let

    theta = atan(s / sd) in (0, pi/2),      z = (x - alpha m) / sqrt(alpha^2 sd^2 + sigma^2),

so that z = cos(theta) (x0 - m) / sd + sin(theta) eps for every process, and with D' = (E[x0 | x] - m) / sd

    dz/dtheta = f = (cos(theta) z - D') / sin(theta),
    q = div f     = (d cos(theta) - tr dD'/dz) / sin(theta),
    grad log p    = -z - f / tan(theta).

For Gaussian data of covariance sd^2 I both f and q vanish: only what is not Gaussian is left to integrate. Then

    log p(z at theta_0) = log p(z at theta_1) + int q dtheta    along the flow,
    d log p / dtheta    = -kappa,    kappa = q + f . grad log p    at a fixed z.

The second line carries the density the rest of the way at either end, where the network cannot be asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.likelihood.divergence import Divergence
from scorefield.schedules import pad_right

# Below this angle the variable of integration turns into log theta, in which a network's error near the data is smooth.
BEND = 0.1


def angle(u: Tensor) -> Tensor:
    """theta = BEND sinh(u), of what is integrated along."""
    return BEND / 2 * (torch.exp(u) - torch.exp(-u))  # not torch.sinh: its last bit depends on the place in the vector


def angle_rate(theta: Tensor) -> Tensor:
    """dtheta / du."""
    return torch.sqrt(theta**2 + BEND**2)


class Rates(NamedTuple):
    """dz/dtheta and its divergence."""

    f: Tensor  # (n, d) float64
    q: Tensor  # (n, C) float64: one column for each estimate

    def score(self, z: Tensor, theta: Tensor) -> Tensor:
        """grad log p at z `(n, d)`."""
        return -z - self.f / pad_right(torch.tan(theta), z)

    def kappa(self, z: Tensor, theta: Tensor) -> Tensor:
        """-d log p / dtheta at a fixed z, `(n, C)`."""
        return self.q + (self.f * self.score(z, theta)).sum(1, keepdim=True)


@dataclass(frozen=True)
class Flow:
    """The flow of some samples, with their condition and their probes bound.

    `directions` `(K, B, *event)` also fixes the dtype the network sees. Where `differentiable`, what is returned keeps
    its graph: gradients go through z and the network's parameters, those of the products too.
    """

    denoiser: Denoiser
    directions: Tensor
    divergence: Divergence
    cond: Conditions
    differentiable: bool = False

    def ends(self, s_min: float, s_max: float) -> tuple[float, float]:
        """(theta_0, theta_1): the range the process covers within the noise ratios s_min sd and s_max sd.

        Raises:
            ValueError: for an s_max that does not exceed 8 s_min within what the process covers.
        """
        ratios = [float(self.denoiser.schedule.noise_ratio(t)) / self.denoiser.data_std for t in (0.0, 1.0)]
        low, high = max(s_min, ratios[0]), min(s_max, ratios[1])
        if not 0 < 8 * low < high:
            raise ValueError(
                f"s_max must exceed 8 s_min within the process's noise ratios {ratios[0]:g} to {ratios[1]:g} "
                f"(of the data's standard deviation); got {s_min:g} and {s_max:g}"
            )
        return math.atan(low), math.atan(high)

    @property
    def limits(self) -> tuple[float, float]:
        """The angles at t = 0 and t = 1."""
        ratios = (float(self.denoiser.schedule.noise_ratio(t)) / self.denoiser.data_std for t in (0.0, 1.0))
        low, high = (math.atan(s) for s in ratios)
        return low, high

    def standardise(self, x: Tensor) -> Tensor:
        """z of a datum x, at theta = 0: `(B, *event)` to `(B, d)`."""
        mean = self.denoiser.data_mean
        mean = mean.to(x.device, torch.float64) if isinstance(mean, Tensor) else mean
        return ((x.double() - mean) / self.denoiser.data_std).flatten(1)

    def __call__(self, z: Tensor, theta: Tensor, rows: Tensor) -> Rates:
        """At `z` `(n, d)` and `theta` `(n,)`, for the samples `rows`.

        Raises:
            ValueError: for a denoiser that does not return the shape of x_t.
        """
        denoiser, vectors = self.denoiser, self.directions
        sd, mean = denoiser.data_std, denoiser.data_mean
        cos, sin, tan = torch.cos(theta), torch.sin(theta), torch.tan(theta)
        t = denoiser.schedule.time_of_log_snr(-torch.log(sd * tan))
        alpha, sigma = denoiser.schedule(t)
        if len(rows) != vectors.shape[1]:
            vectors = vectors[:, rows.to(vectors.device)]
        cond = self.cond.rows(rows)
        with torch.enable_grad():
            point = z.to(vectors.dtype).reshape(vectors.shape[1:])
            if not (self.differentiable and point.requires_grad):
                point = point.detach().requires_grad_()
            mean = mean.to(point) if isinstance(mean, Tensor) else mean
            # sqrt, not hypot: its last bit depends on where in its vector a number stands
            scale = torch.sqrt((alpha * sd) ** 2 + sigma * sigma)
            x0 = denoiser(pad_right(scale, point) * point + pad_right(alpha, point) * mean, t, **cond)
            if x0.shape != point.shape:
                raise ValueError(
                    f"the denoiser must return the shape of x_t, {tuple(point.shape)}; got {tuple(x0.shape)}"
                )
            prediction = (x0 - mean) / sd
            products = []
            for k, v in enumerate(vectors):
                again = k + 1 < len(vectors) or self.differentiable
                (g,) = (
                    torch.autograd.grad(prediction, point, v, retain_graph=again, create_graph=self.differentiable)
                    if len(v)
                    else (v,)
                )
                # (cos v - J^T v) . v: the difference first, it is small
                products.append((v * (pad_right(cos, v) * v - g)).flatten(1).double().sum(1))
        prediction = prediction if self.differentiable else prediction.detach()
        f = pad_right(cos, z) * z - prediction.flatten(1).double()
        q = self.divergence.combine(torch.stack(products, 1))
        return Rates(f / pad_right(sin, f), q / pad_right(sin, q))


class Tail(NamedTuple):
    """What lies beyond one end."""

    value: Tensor  # (n, C): to add to the integral of q
    error: Tensor  # (n,)
    smooth: Tensor  # (n,) bool: whether kappa there is what it is of a smooth density


def near_tail(kappas: Sequence[Tensor], theta: float, little: float = 0.0) -> Tail:
    """int_0^theta kappa at a fixed z, from kappa `(n, C)` at theta, 4 theta, and if they can be had 16 and 64 theta.

    A density that is smooth at the scale of theta has an odd kappa = a theta + b theta^3, and two points tell a and b.
    The error is how far the next two are from saying the same, or a quarter of how far those are from the last two (a
    smooth density leaves a 256th), for two may agree by chance. Where kappa is not of that form (the error of a
    network, edges and spikes of the data) it says nothing of what lies below theta: nothing is added, and the error is
    a line through 0 and kappa at 4 theta. What is below `little` is of any form.
    """
    line, line4 = kappas[0].mean(1) * theta / 2, kappas[1].mean(1) * theta / 8
    smooth = ((line - line4).abs() <= line4.abs() / 2) | (torch.maximum(line.abs(), line4.abs()) <= little)
    said = []
    for k, (inner, outer) in enumerate(pairwise(kappas)):
        h = 4**k * theta
        a, b = (64 * inner - outer) / (60 * h), (outer - 4 * inner) / (60 * h**3)
        said.append(a * theta**2 / 2 + b * theta**4 / 4)
    apart = [(p - q).mean(1).abs() / 4**k for k, (p, q) in enumerate(pairwise(said))]
    error = torch.stack(apart or [(said[0].mean(1) - line).abs()]).amax(0)
    return Tail(torch.where(smooth[:, None], said[0], 0.0), torch.where(smooth, error, line4.abs()), smooth)


def far_tail(kappa: Tensor, kappa2: Tensor, phi: float, gap: float) -> Tail:
    """int kappa at a fixed z over an angle `phi`, from kappa where it begins and `gap` before: a straight line.

    To pi / 2 it is the mismatch of p and the standard normal it tends to; the error is what the slope contributes.
    """
    bent = phi**2 / (2 * gap) * (kappa - kappa2)
    return Tail(phi * kappa + bent, bent.mean(1).abs(), torch.ones_like(kappa[:, 0], dtype=torch.bool))
