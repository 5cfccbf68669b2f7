"""The noise level as features: `(B,)` -> `(B, features)`.

    sinusoidal   (cos w_i l, sin w_i l), w_i geometric                                 (Vaswani et al. 2017)
    fourier      the same with w_i ~ N(0, scale^2), drawn once from a seed             (Rahimi & Recht 2007)
    learned      silu(W l + b), with the weights trained

For the first two the inner product of two levels' features depends on their distance alone,

    (2 / features) <e(a), e(b)> = mean_i cos(w_i (a - b)),

which for random frequencies tends to the Gaussian kernel exp(-scale^2 (a - b)^2 / 2), with a standard error of at most
features^(-1/2). Defaults suit levels of order one: t itself, or log(sigma / alpha) / 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class _Waves(nn.Module):
    """(cos(w_i level), sin(w_i level)) at fixed frequencies w, radians per unit of level."""

    frequencies: Tensor

    def forward(self, level: Tensor) -> Tensor:
        angles = level[:, None] * self.frequencies.to(level.dtype)
        return torch.cat([angles.cos(), angles.sin()], 1)


class Sinusoidal(_Waves):
    """(cos(w_i level), sin(w_i level)) at `features / 2` frequencies, geometric from `low` to `high` radians.

    Raises:
        ValueError: for an odd number of features, or less than 2.
    """

    def __init__(self, features: int, *, low: float = 0.5, high: float = 16.0) -> None:
        super().__init__()
        exponents = torch.linspace(math.log(low), math.log(high), _pairs(features), dtype=torch.float64)
        self.register_buffer("frequencies", exponents.exp().float(), persistent=False)


class RandomFourier(_Waves):
    """(cos(w_i level), sin(w_i level)) at `features / 2` frequencies w_i ~ N(0, scale^2) from `seed`.

    The frequencies are a buffer, saved with the weights: a loaded network does not depend on how they were drawn.

    Raises:
        ValueError: for an odd number of features, or less than 2.

    References:
        Rahimi & Recht 2007 (random features); Tancik et al. 2020; Song et al. 2021 (for the noise level).
    """

    def __init__(self, features: int, *, scale: float = 4.0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(_pairs(features), dtype=torch.float64, generator=generator)
        self.register_buffer("frequencies", (scale * normal).float())


class Learned(nn.Module):
    """silu(W level + b), `features` of them: the first layer of a small network of the level."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, features)

    def forward(self, level: Tensor) -> Tensor:
        return nn.functional.silu(self.linear(level[:, None]))


def grid_positions(
    height: int, width: int, features: int, *, base: float = 1e4, device: torch.device | None = None
) -> Tensor:
    """Sines and cosines of the row and of the column of each cell of a grid: `(height * width, features)`, float64.

    A quarter of the features each: cos(w_i row), sin(w_i row), cos(w_i column), sin(w_i column), w_i from 1 down to
    nearly 1 / base. For any grid, so the same network takes any size; the first frequency alone tells neighbours apart.

    Raises:
        ValueError: for a number of features that 4 does not divide.

    References:
        Vaswani et al. 2017; Dosovitskiy et al. 2021; Peebles & Xie 2023 (on a grid).
    """
    if features < 4 or features % 4:
        raise ValueError(f"features must be a multiple of 4; got {features}")
    frequencies = base ** -(torch.arange(features // 4, dtype=torch.float64, device=device) / (features // 4))
    rows = torch.arange(height, dtype=torch.float64, device=device)[:, None] * frequencies
    columns = torch.arange(width, dtype=torch.float64, device=device)[:, None] * frequencies
    of_rows = torch.cat([rows.cos(), rows.sin()], 1)[:, None].expand(-1, width, -1)
    of_columns = torch.cat([columns.cos(), columns.sin()], 1)[None].expand(height, -1, -1)
    return torch.cat([of_rows, of_columns], 2).reshape(height * width, features)


def _pairs(features: int) -> int:
    if features < 2 or features % 2:
        raise ValueError(f"features must be even and at least 2; got {features}")
    return features // 2
