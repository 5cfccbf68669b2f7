"""Variational dequantisation: noise that goes where the density is.

Integers k have a density only with noise added, y = k + u, and for any law q(u | k) on [0, 1)^d

    log P(k) = log int p(k + u) du  >=  E_q [log p(k + u) - log q(u | k)],

with equality where q(u | k) is proportional to p(k + u). Uniform noise, q = 1, pays for every place in the bin where
the model has no mass. Here each u_i is logistic-normal,

    u = sigmoid(a),  a = m + e^s z,  z ~ N(0, I),
    log q(u | k) = sum_i [log N(z_i; 0, 1) - s_i - log u_i (1 - u_i)],

m and s a network's, of k. `fit_dequantizer` maximises the bound with -log p replaced by the continuous-time bound,
whose gradient with respect to u costs no ODE (Song et al. 2021b, appendix); `bits_per_dim(dequantizer=)` then scores
with the ODE. Wherever the model is worse than q believes, the result is looser, never wrong.

References: Ho et al. 2019, Flow++ (variational dequantisation); Song et al. 2021b.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.losses import continuous_bound
from scorefield.randomness import Stream

UNIFORM_STD = 1.7  # of a, with which u is as nearly uniform as a logistic-normal can be
BLUR = 0.1  # of a grey level: the noise at which the bound ends


class Drawn(NamedTuple):
    """Noise and its density."""

    u: Tensor  # (B, *event), in (0, 1)
    log_q: Tensor  # (B,) nats


class Dequantizer(nn.Module):
    """q(u | k), logistic-normal.

    Args:
        net: takes k in model units, the middles of the bins, `(B, *event)`, to `(B, 2, *event)`: m, and s less log 1.7,
            so that a network whose last layer is 0 begins with nearly uniform noise.
        transform: of the model; it has levels.

    Raises:
        ValueError: for a transform without levels; when called, for a net that returns another shape.
    """

    def __init__(self, net: nn.Module, transform: Transform) -> None:
        super().__init__()
        if transform.levels is None:
            raise ValueError("a Dequantizer is for integers, and these data are continuous")
        self.net, self.transform = net, transform

    @classmethod
    def dense(cls, dim: int, transform: Transform, *, hidden: int = 64) -> Dequantizer:
        """For vectors `(dim,)`."""
        last = _zero(nn.Linear(hidden, 2 * dim))
        net = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
        return cls(nn.Sequential(net, nn.Unflatten(1, (2, dim))), transform)

    @classmethod
    def convolutional(cls, channels: int, transform: Transform, *, width: int = 32) -> Dequantizer:
        """For pictures `(channels, H, W)`."""
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        layers += [_zero(nn.Conv2d(width, 2 * channels, 3, padding=1)), nn.Unflatten(1, (2, channels))]
        return cls(nn.Sequential(*layers), transform)

    def forward(self, x_raw: Tensor, z: Tensor) -> Drawn:
        """u and log q(u | x_raw) of standard normals z, both `(B, *event)`; differentiable."""
        mean, log_std = self.parameters_of(x_raw)
        a = mean + log_std.exp() * z
        log_q = -(z**2) / 2 - math.log(2 * math.pi) / 2 - log_std + F.softplus(a) + F.softplus(-a)
        return Drawn(torch.sigmoid(a), log_q.flatten(1).sum(1))

    def log_prob(self, u: Tensor, x_raw: Tensor) -> Tensor:
        """log q(u | x_raw), `(B,)` nats, of `u` `(B, *event)` in (0, 1)."""
        mean, log_std = self.parameters_of(x_raw)
        return self(x_raw, (torch.logit(u) - mean) / log_std.exp()).log_q

    def parameters_of(self, x_raw: Tensor) -> tuple[Tensor, Tensor]:
        """m and s, each `(B, *event)`."""
        own = next(self.parameters())
        out = self.net(self.transform(x_raw.to(own) + 0.5))
        if out.shape != (len(x_raw), 2, *x_raw.shape[1:]):
            raise ValueError(
                f"the dequantizer's net must return {(len(x_raw), 2, *x_raw.shape[1:])}; got {tuple(out.shape)}"
            )
        return out[:, 0], out[:, 1] + math.log(UNIFORM_STD)


def fit_dequantizer(
    dequantizer: Dequantizer,
    denoiser: Denoiser,
    x_raw: Tensor,
    *,
    steps: int = 1000,
    batch_size: int = 128,
    lr: float = 2e-3,
    cond: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[float]:
    """Trains `dequantizer` in place on integers `x_raw` `(N, *event)`, the denoiser fixed. Returns the bound at each
    step, nats.

    Args:
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.

    Raises:
        ValueError: for a process that begins with more noise than a tenth of a grey level, or a condition of another
            length than x_raw.
    """
    told = Conditions.of(cond, len(x_raw), what="data")
    transform, schedule = dequantizer.transform, denoiser.schedule
    one = torch.ones(1, *x_raw.shape[1:], dtype=torch.float64, device="cpu")
    level = float((transform(one) - transform(0 * one)).abs().min())
    least = float(schedule.noise_ratio(0.0))
    if least > BLUR * level:
        raise ValueError(
            f"the process begins with noise {least:.3g}, and a grey level is {level:.3g}: too much to learn where in "
            "the level the data are"
        )
    t_min = float(schedule.time_of_log_snr(torch.tensor(-math.log(BLUR * level), dtype=torch.float64, device="cpu")))
    weights = [p for p in dequantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr)
    history = []
    for step in range(steps):
        index = torch.arange(step * batch_size, (step + 1) * batch_size, device="cpu")
        stream = Stream(seed, index)
        rows = (stream.uniform() * len(x_raw)).long().clamp(max=len(x_raw) - 1)
        k = x_raw[rows.to(x_raw.device)]
        u, log_q = dequantizer(k, stream.normal(tuple(k.shape[1:]), weights[0].dtype).to(k.device))
        with evaluating(denoiser):
            bound = continuous_bound(denoiser, transform(k + u), t_min=t_min, generator=stream, cond=told.rows(rows))
        loss = (bound + log_q).mean()
        gradients = torch.autograd.grad(loss, weights)  # none for the denoiser
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
        history.append(float(loss.detach()))
    return history


def _zero(layer: nn.Module) -> nn.Module:
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer
