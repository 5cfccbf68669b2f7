"""Shapes in the plane that everyone knows, with exact densities.

A curve (rings, moons, spirals) is, by definition here, a mixture of isotropic Gaussians at nodes spaced equally along
it: not an approximation of a smeared curve whose density nobody can write, but a law whose log-density, score and
noised laws are exact. Nodes lie at most 1.25 standard deviations apart, so the density along a curve ripples by 1e-5.
Sizes are chosen so that the mean variance of the coordinates is near 1; `.variance` is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.distributions.base import parameter
from scorefield.distributions.boxes import UniformBoxes
from scorefield.distributions.mixture import GaussianMixture

SPACING = 1.25
"""Distance between nodes along a curve, in standard deviations, at most."""


def eight_gaussians(
    *, radius: float = math.sqrt(2), std: float = 0.1, weights: Any | None = None, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """Eight isotropic Gaussians on a circle, the first at angle 0, anticlockwise; `weights` `(8,)`, equal if None.

    Raises:
        ValueError: for a radius or std that is not positive, or weights that do not sum to 1.
    """
    _positive(radius=radius, std=std)
    angle = torch.arange(8, dtype=torch.float64, device="cpu") * (math.pi / 4)
    weights = torch.full((8,), 1 / 8, device="cpu") if weights is None else weights
    return _mixture(radius * _polar(1.0, angle), torch.full((8, 2), std**2, device="cpu"), weights, dtype)


def gaussian_grid(*, side: int = 5, std: float = 0.05, dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """`side` x `side` isotropic Gaussians of equal weight on a square grid: 25, the usual test of lost modes.

    Raises:
        ValueError: for an std that is not positive, or a side below 2.
    """
    _positive(std=std)
    if side < 2:
        raise ValueError(f"side must be at least 2; got {side}")
    axis = (torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2) * math.sqrt(12 / (side**2 - 1))
    means = torch.cartesian_prod(axis, axis)
    return _curve(means, std, None, dtype)


def rings(
    *,
    radii: Sequence[float] = (0.6, 1.2, 1.8),
    std: float = 0.08,
    weights: Any | None = None,
    dtype: torch.dtype = torch.float32,
) -> GaussianMixture:
    """Concentric rings. `weights`: mass of each, by default in proportion to its length.

    Raises:
        ValueError: for a radius or std that is not positive, or weights that do not sum to 1.
    """
    _positive(std=std, **{f"radii[{i}]": radius for i, radius in enumerate(radii)})
    weights = radii if weights is None else parameter("weights", weights, len(radii)).tolist()
    total = sum(weights)
    nodes, mass = [], []
    for radius, weight in zip(radii, weights, strict=True):
        count = _count(2 * math.pi * radius, std)
        nodes.append(_polar(radius, torch.arange(count, dtype=torch.float64, device="cpu") * (2 * math.pi / count)))
        mass.append(torch.full((count,), weight / total / count, dtype=torch.float64, device="cpu"))
    return _curve(torch.cat(nodes), std, torch.cat(mass), dtype)


def two_moons(*, std: float = 0.1, dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """Two interleaved half circles of radius sqrt(2), centred on the origin.

    Raises:
        ValueError: for an std that is not positive.
    """
    _positive(std=std)
    scale = math.sqrt(2)
    angle = torch.linspace(0, math.pi, _count(math.pi * scale, std) + 1, dtype=torch.float64, device="cpu")
    upper = _polar(1.0, angle)
    lower = torch.tensor([1.0, 0.5], dtype=torch.float64, device="cpu") - upper
    middle = torch.tensor([0.5, 0.25], dtype=torch.float64, device="cpu")
    return _curve(scale * (torch.cat([upper, lower]) - middle), std, None, dtype)


def spiral(
    *, arms: int = 2, turns: float = 1.5, radius: float = 2.0, std: float = 0.08, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """Archimedean spirals from the origin to `radius`, uniform in length along each of the `arms`.

    Raises:
        ValueError: for a number that is not positive.
    """
    _positive(arms=arms, turns=turns, radius=radius, std=std)
    end = 2 * math.pi * turns
    theta = torch.linspace(0, end, 4097, dtype=torch.float64, device="cpu")
    length = (radius / end) * (theta * (1 + theta**2).sqrt() + torch.asinh(theta)) / 2  # of r = radius theta / end
    count = _count(float(length[-1]), std)
    at = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) * (length[-1] / count)
    right = torch.searchsorted(length, at).clamp(1, len(theta) - 1)
    share = (at - length[right - 1]) / (length[right] - length[right - 1])
    angle = theta[right - 1] + share * (theta[right] - theta[right - 1])
    nodes = [_polar(radius * angle / end, angle + 2 * math.pi * arm / arms) for arm in range(arms)]
    return _curve(torch.cat(nodes), std, None, dtype)


def pinwheel(
    *, arms: int = 5, rate: float = 0.25, width: float = 0.1, nodes: int = 12, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """Curved arms, densest in their middle: `nodes` Gaussians along each, stretched along the arm, `width` r across it.

    Arm a follows r (cos, sin)(2 pi a / arms + rate exp(r)), r ~ N(1, 0.3^2) cut at two deviations, scaled by 1.35.

    Raises:
        ValueError: for a number that is not positive.
    """
    _positive(arms=arms, width=width, nodes=nodes)
    scale = 1.35
    r = torch.linspace(0.4, 1.6, nodes + 1, dtype=torch.float64, device="cpu")
    r = (r[:-1] + r[1:]) / 2
    mass = torch.exp(-0.5 * ((r - 1) / 0.3) ** 2)
    bend = rate * torch.exp(r)
    means, covariances = [], []
    for arm in range(arms):
        angle = 2 * math.pi * arm / arms + bend
        out, turned = _polar(1.0, angle), _polar(1.0, angle + math.pi / 2)
        tangent = out + (r * bend)[:, None] * turned  # d/dr of the arm
        along = tangent / tangent.norm(dim=1, keepdim=True)
        across = torch.stack([-along[:, 1], along[:, 0]], 1)
        stretch = (1.2 / nodes) * tangent
        slim = (width * r)[:, None] * across
        means.append(scale * r[:, None] * out)
        covariances.append(scale**2 * (_outer(stretch) + _outer(slim)))
    weights = (mass / mass.sum() / arms).repeat(arms)
    return _mixture(torch.cat(means), torch.cat(covariances), weights, dtype)


def checkerboard(
    *, cells: int = 4, half_width: float = math.sqrt(3), dtype: torch.dtype = torch.float32
) -> UniformBoxes:
    """Every other square of a `cells` x `cells` board on [-half_width, half_width]^2, uniform, with sharp edges.

    Raises:
        ValueError: for a number that is not positive.
    """
    _positive(cells=cells, half_width=half_width)
    side = 2 * half_width / cells
    corners = [[i, j] for i in range(cells) for j in range(cells) if (i + j) % 2 == 0]
    lower = torch.tensor(corners, dtype=torch.float64, device="cpu") * side - half_width
    return UniformBoxes(lower, lower + side).to(dtype)


def _curve(nodes: Tensor, std: float, weights: Tensor | None, dtype: torch.dtype) -> GaussianMixture:
    if weights is None:
        weights = torch.full((len(nodes),), 1 / len(nodes), dtype=torch.float64, device="cpu")
    return _mixture(nodes, torch.full_like(nodes, std**2), weights, dtype)


def _mixture(means: Tensor, covariances: Tensor, weights: Any, dtype: torch.dtype) -> GaussianMixture:
    return GaussianMixture(weights, means, covariances.double()).to(dtype)


def _polar(radius: float | Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1)


def _outer(v: Tensor) -> Tensor:
    return v[:, :, None] * v[:, None]


def _count(length: float, std: float) -> int:
    return max(1, math.ceil(length / (SPACING * std)))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive; got {value:g}")
