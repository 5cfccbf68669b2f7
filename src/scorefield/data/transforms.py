"""Between raw units (integers in a file) and model units (what a network is trained on), with the log-Jacobian.

With `levels` grey values, x_raw in {0, ..., levels - 1}:

    y = x_raw + u,  u ~ U[0, 1)^d       continuous data, raw units   (dequantisation)
    x = scale y + shift                 model units
    log p_y(y) = log p_x(x) + d log|scale|

and, by Jensen's inequality, -log P(x_raw) <= -E_u log p_y(x_raw + u): averaged over the data, in log2 and per entry,
the right-hand side is an upper bound on the code length in bits per dimension. log p_x alone has no such meaning: it
changes with the scaling. The uniform density on [0, levels) scores log2(levels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """x = scale y + shift, from dequantised raw units y in [0, levels) to model units x; a value, kept in checkpoints.

    `mean` and `sigma_data` describe the data in model units: over all entries of all images.
    """

    scale: float
    shift: float = 0.0
    levels: int | None = None
    mean: float = 0.0
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.shift)):
            raise ValueError(f"Scale: scale must be finite and not 0, shift finite; got {self.scale} and {self.shift}")
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"Scale: levels must be at least 1, or None for continuous data; got {self.levels}")

    @classmethod
    def to_unit_range(cls, x_raw: Tensor, *, levels: int) -> Scale:
        """[0, levels) to [-1, 1), with the mean and standard deviation of the dequantised `x_raw` measured."""
        mean, std = _moments(x_raw, levels)
        scale = 2.0 / levels
        return cls(scale, -1.0, levels, scale * mean - 1.0, scale * std)

    @classmethod
    def to_standard(cls, x_raw: Tensor, *, levels: int) -> Scale:
        """Mean 0 and standard deviation 1 over all entries of the dequantised `x_raw`."""
        mean, std = _moments(x_raw, levels)
        return cls(1.0 / std, -mean / std, levels, 0.0, 1.0)

    def __call__(self, y: Tensor) -> Tensor:
        """Model units, floating point (float32 for integers)."""
        y = y if y.is_floating_point() else y.float()
        return self.scale * y + self.shift

    def inverse(self, x: Tensor) -> Tensor:
        """Raw units, continuous: `quantize` makes them grey values."""
        return (x - self.shift) / self.scale

    def log_jacobian(self, dims: int) -> float:
        """log |dx / dy| = dims log|scale|, nats."""
        return dims * math.log(abs(self.scale))

    def dequantize(self, x_raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Integers in raw units to model units, with fresh uniform noise: what to train on and to score."""
        return self(dequantize(x_raw, generator))

    def quantize(self, x: Tensor) -> Tensor:
        """Model units to the grey value whose bin they fall in, int64, clipped to 0..levels - 1."""
        if self.levels is None:
            raise ValueError("quantize needs a Scale with levels; this one describes continuous data")
        return quantize(self.inverse(x), self.levels)


def _moments(x_raw: Tensor, levels: int) -> tuple[float, float]:
    """Mean and standard deviation of x_raw + u: u adds 1/2 to the mean and 1/12 to the variance."""
    if x_raw.numel() == 0:
        raise ValueError("x_raw must not be empty")
    low, high = float(x_raw.min()), float(x_raw.max())
    if not 0 <= low <= high <= levels - 1:
        raise ValueError(f"x_raw must lie in 0..{levels - 1}; got {low:g}..{high:g}")
    raw = x_raw.to(torch.float64)
    return float(raw.mean()) + 0.5, math.sqrt(float(raw.var(correction=0)) + 1 / 12)


def dequantize(x_raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """y = x_raw + u, u ~ U[0, 1), float32: floor(y) is `x_raw` again, exactly."""
    device = generator.device if generator is not None else x_raw.device
    whole = x_raw.to(torch.float32)
    y = whole + torch.rand(x_raw.shape, device=device, generator=generator).to(whole.device)
    return torch.minimum(y, torch.nextafter(whole + 1, whole))  # a sum may round up to the next integer


def quantize(y: Tensor, levels: int) -> Tensor:
    """floor(y), clipped to 0..levels - 1, int64."""
    return y.floor().clamp(0, levels - 1).to(torch.int64)


def bits_per_dim(log_prob: Tensor, transform: Scale, dims: int) -> Tensor:
    """-log2 p_y(y) / dims, from `log_prob` = log p_x(x) in nats where x = transform(y); shape of `log_prob`.

    The unit of y is one grey level, so on dequantised data the mean is an upper bound on the bits per dimension of the
    integers.

    Args:
        log_prob: nats, of the dequantised and scaled data.
        transform: the one the data went through.
        dims: entries in an event: channels x height x width.
    """
    if dims < 1:
        raise ValueError(f"dims must be at least 1; got {dims}")
    return -(log_prob + transform.log_jacobian(dims)) / (dims * math.log(2))
