"""Maps that are known: of Gaussian data the flow is affine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import scorefield as sf
from scorefield.flowmaps import ConsistencyMap, FlowMap

MEAN, STD = 1.3, 0.4  # of the data; the model is told other ones, so that its velocity is not 0
TOLD: dict[str, Any] = {"data_mean": 0.9, "data_std": 0.7}
PROCESSES = [(sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(0.7)), (sf.Rectified(), sf.Velocity()), (sf.VP(), sf.V())]


def law(dtype: torch.dtype = torch.float64) -> sf.Gaussian:
    return sf.Gaussian(torch.tensor([MEAN], dtype=dtype), torch.tensor([STD**2], dtype=dtype))


class Silent(nn.Module):
    """A network that says nothing, of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor, level: Tensor, until: Tensor | None = None) -> Tensor:
        return x * self.weight


class ExactMap(FlowMap):
    """The flow map of N(MEAN, STD^2) in closed form: z about its mean is stretched as the standard deviation is."""

    def mean_velocity(self, z: Tensor, theta: Tensor, phi: Tensor, **cond: object) -> Tensor:
        m, c, sd = float(self.data_mean), STD, self.data_std
        theta, phi = theta[:, None], phi[:, None]
        mean, std = _mean(theta, m, sd), _std(theta, sd)
        growth = torch.cos(theta) * torch.sin(theta) * (1 - (c / sd) ** 2) / std**2
        v = -torch.sin(theta) * (MEAN - m) / sd + growth * (z - mean)
        end = _mean(phi, m, sd) + _std(phi, sd) / std * (z - mean)
        gap = theta - phi
        return torch.where(gap < 1e-9, v, (z - end) / gap.clamp(min=1e-12))


class ExactEnds(ConsistencyMap):
    """Where the flow of N(MEAN, STD^2) ends, in closed form: y = cos(theta) z - sin(theta) u."""

    def mean_velocity(self, z: Tensor, theta: Tensor, phi: Tensor, **cond: object) -> Tensor:
        m, sd, theta = float(self.data_mean), self.data_std, theta[:, None]
        y = (MEAN - m) / sd + STD / sd / _std(theta, sd) * (z - _mean(theta, m, sd))
        return (torch.cos(theta) * z - y) / torch.sin(theta)


def _mean(angle: Tensor, m: float, sd: float) -> Tensor:
    return torch.cos(angle) * (MEAN - m) / sd


def _std(angle: Tensor, sd: float) -> Tensor:
    return torch.sqrt((torch.cos(angle) * STD / sd) ** 2 + torch.sin(angle) ** 2)


def exact_map(schedule: sf.Schedule, parameterization: sf.Parameterization) -> ExactMap:
    return ExactMap(Silent(), schedule, parameterization, **TOLD)


def exact_ends(schedule: sf.Schedule, parameterization: sf.Parameterization) -> ExactEnds:
    return ExactEnds(Silent(), schedule, parameterization, **TOLD)


def network_map(
    schedule: sf.Schedule, parameterization: sf.Parameterization, dim: int = 3, seed: int = 0, **told: float
) -> FlowMap:
    return FlowMap(_net(dim, seed, ("until",)), schedule, parameterization, **{**TOLD, **told})


def network_ends(
    schedule: sf.Schedule, parameterization: sf.Parameterization, dim: int = 3, seed: int = 0, **told: Any
) -> ConsistencyMap:
    return ConsistencyMap(_net(dim, seed, ()), schedule, parameterization, **{**TOLD, **told})


def _net(dim: int, seed: int, scalars: tuple[str, ...]) -> nn.Module:
    torch.manual_seed(seed)
    net = sf.networks.MLP(dim, 32, 2, scalars=scalars).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net
