"""log p of a flow from any origin: the density there, and what the ODE makes of it on the way.

    log p(x_0) = log p_origin(x_1) + int_0^1 div v(x_t, t) dt,    dx/dt = v

Nothing is known of the density between, and so of what an error of x does to it: x is held to a hundredth of the
tolerance in units of the data's standard deviation, the integral to the tolerance itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser, Flow
from scorefield.denoisers.gradients import differentiable
from scorefield.likelihood.divergence import Divergence
from scorefield.solvers.adaptive import Trial, integrate, rms

OF_X = 0.01
CAUTION = 2.0  # as in `density`: the estimates of a step are of a lower order than what advances


def carried(
    denoiser: Denoiser,
    x: Tensor,
    directions: Tensor,
    divergence: Divergence,
    cond: Conditions,
    tolerance: float,
    jacobian: float,
) -> tuple[Tensor, ...]:
    """The fields of `LogProb` up to `evaluations`, of a chunk `(B, *event)`.

    Raises:
        ValueError: for what wraps a flow, guided or clipped: its velocity at t = 0 can't be told from E[x0 | x_t].
    """
    if not isinstance(denoiser, Flow):
        raise ValueError(f"log_prob of a flow needs the Flow itself; got {type(denoiser).__name__}")
    d, event = math.prod(x.shape[1:]), x.shape[1:]

    def rates(state: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        vectors = directions[:, rows.to(directions.device)]
        with differentiable():
            point = state[:, :d].to(x.dtype).reshape(-1, *event).detach().clone().requires_grad_()
            v = denoiser.velocity(point, t, **cond.rows(rows))
            products = [
                (torch.autograd.grad(v, point, u, retain_graph=True)[0] * u).flatten(1).double().sum(1) for u in vectors
            ]
        return torch.cat([v.detach().flatten(1).double(), divergence.combine(torch.stack(products, 1))], 1)

    def size(trial: Trial) -> Tensor:
        along = rms(trial.error[:, :d]) / (OF_X * tolerance * denoiser.data_std)
        return torch.maximum(along, trial.error[:, d:].mean(1).abs() / (tolerance * d)).cpu()

    start = x.double().flatten(1)
    columns = torch.zeros_like(divergence.combine(torch.zeros_like(start[:, :1]).expand(-1, len(directions))))
    way = integrate(rates, torch.cat([start, columns], 1), 0.0, 1.0, judge=size)
    latent, integrals = way.x[:, :d].reshape(x.shape), way.x[:, d:]
    zeros = torch.zeros_like(integrals[:, 0])
    if denoiser.origin is None:
        there = -(latent.flatten(1).square().sum(1) + d * math.log(2 * math.pi)) / 2
    else:
        there = denoiser.origin.log_prob(latent.cpu()).to(x.device)
    log_p = there + integrals.mean(1) + jacobian
    arrived = way.arrived.to(x.device)
    return (
        torch.where(arrived, log_p, math.nan),
        divergence.stderr(integrals, d),
        CAUTION * tolerance * d * way.error.to(x.device),
        zeros,
        zeros,
        latent.to(x.dtype),
        way.arrived,
        way.evaluations,
    )
