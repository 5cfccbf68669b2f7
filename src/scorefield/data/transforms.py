"""Between raw units (integers in a file) and model units (what a network is trained on), with the log-Jacobian.

With `levels` grey values, x_raw in {0, ..., levels - 1}:

    y = x_raw + u,  u ~ U[0, 1)^d       continuous data, raw units   (dequantisation)
    x = scale y + shift                 model units
    log p_y(y) = log p_x(x) + d log|scale|

and, by Jensen's inequality, -log P(x_raw) <= -E_u log p_y(x_raw + u): averaged over the data, in log2 and per entry,
the right-hand side is an upper bound on the code length in bits per dimension. log p_x alone has no such meaning: it
changes with the scaling. The uniform density on [0, levels) scores log2(levels).

Continuous data, `levels=None`, are their own y. In a table each column has its own unit: x_j = (y_j - mean_j) / std_j,
and log |dx / dy| = -sum_j log std_j (`Standardize`); what is discrete in it is dequantised as `TableSchema` says.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scorefield.data._moments import moments
from scorefield.data.schema import TableSchema
from scorefield.data.sources import Source
from scorefield.randomness import Randomness, rand


@runtime_checkable
class Transform(Protocol):
    """Raw units to model units and back: a frozen dataclass of plain values, so that it travels in a checkpoint.

    A transform with weights is a module with such arguments (`LatentSpace`).
    """

    @property
    def levels(self) -> int | None:
        """Of the raw integers 0 .. levels - 1; None for continuous data."""
        ...

    @property
    def mean(self) -> float:
        """Of the data in model units, over all entries."""
        ...

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data in model units, over all entries."""
        ...

    def __call__(self, y: Tensor) -> Tensor:
        """(B, *event), raw and continuous, to model units."""
        ...

    def inverse(self, x: Tensor) -> Tensor:
        """Model units to raw, continuous."""
        ...

    def log_jacobian(self, dims: int) -> float:
        """log |det dx/dy| of an event of `dims` entries, nats."""
        ...

    def dequantize(self, x_raw: Tensor, generator: Randomness = None) -> Tensor:
        """Raw data to model units, integers with fresh uniform noise: what to train on and to score."""
        ...


@dataclass(frozen=True)
class Scale:
    """x = scale y + shift, from dequantised raw units y in [0, levels) to model units x; a value, kept in checkpoints.

    `mean` and `sigma_data` describe the data in model units: over all entries of all images. Without `noise`, integers
    are taken at the middle of their bin, k + 1/2: less for a network to learn, but a density of spikes, so a likelihood
    of such a model has no meaning, and `bits_per_dim` refuses it.

    Raises:
        ValueError: for a scale that is 0 or not finite, a shift that is not finite, or less than one level.
    """

    scale: float
    shift: float = 0.0
    levels: int | None = None
    mean: float = 0.0
    sigma_data: float = 1.0
    noise: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.shift)):
            raise ValueError(f"Scale: scale must be finite and not 0, shift finite; got {self.scale} and {self.shift}")
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"Scale: levels must be at least 1, or None for continuous data; got {self.levels}")

    @classmethod
    def to_unit_range(cls, x_raw: Tensor | Source, *, levels: int | None = None, noise: bool = True) -> Scale:
        """[0, levels) to [-1, 1), with the mean and standard deviation of the dequantised `x_raw` measured.

        `levels` is the source's own where `x_raw` is one; a source is read once, in chunks.

        Raises:
            ValueError: for continuous data, which have no range; for empty data, or values outside 0 .. levels - 1.
        """
        levels = _levels(x_raw, levels)
        if levels is None:
            raise ValueError("to_unit_range needs levels: continuous data have no range; use to_standard")
        mean, std = _dequantised_moments(x_raw, levels)
        scale = 2.0 / levels
        return cls(scale, -1.0, levels, scale * mean - 1.0, scale * std, noise)

    @classmethod
    def to_standard(cls, x_raw: Tensor | Source, *, levels: int | None = None, noise: bool = True) -> Scale:
        """Mean 0 and standard deviation 1 over all entries of `x_raw`, dequantised where it has levels.

        Raises:
            ValueError: for empty or constant data, or values outside 0 .. levels - 1.
        """
        levels = _levels(x_raw, levels)
        mean, std = _dequantised_moments(x_raw, levels)
        if std == 0:
            raise ValueError(f"to_standard needs data that vary; every entry is {mean:g}")
        return cls(1.0 / std, -mean / std, levels, 0.0, 1.0, noise)

    @property
    def data_range(self) -> tuple[float, float] | None:
        """(least, largest) entry of any data in model units; None for continuous data."""
        if self.levels is None:
            return None
        ends = (self.shift, self.scale * self.levels + self.shift)
        return min(ends), max(ends)

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

    def dequantize(self, x_raw: Tensor, generator: Randomness = None) -> Tensor:
        """Integers in raw units to model units, with fresh uniform noise; continuous data (no levels) as they are."""
        if self.levels is None:
            return self(x_raw)
        return self(dequantize(x_raw, generator) if self.noise else x_raw.to(torch.float32) + 0.5)

    def quantize(self, x: Tensor) -> Tensor:
        """Model units to the grey value whose bin they fall in, int64, clipped to 0..levels - 1.

        Raises:
            ValueError: for continuous data, which have no levels.
        """
        if self.levels is None:
            raise ValueError("quantize needs a Scale with levels; this one describes continuous data")
        return quantize(self.inverse(x), self.levels)


class Standardized(abc.ABC):
    """x = (y - mean) / std, each column, or each channel, by moments of its own."""

    @abc.abstractmethod
    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std), raw units, of a shape that broadcasts to x, dtype and device of x."""

    @property
    def levels(self) -> None:
        """None: not all the numbers have levels of one number, and most have none."""
        return None

    @property
    def mean(self) -> float:
        """0, in model units."""
        return 0.0

    @property
    def sigma_data(self) -> float:
        """1, in model units."""
        return 1.0

    def __call__(self, y: Tensor) -> Tensor:
        """Model units, floating point (float32 for integers)."""
        mean, std = self._like(y := y if y.is_floating_point() else y.float())
        return (y - mean) / std

    def inverse(self, x: Tensor) -> Tensor:
        """Raw units."""
        mean, std = self._like(x)
        return x * std + mean


@dataclass(frozen=True)
class Standardize(Standardized):
    """x_j = (y_j - mean_j) / std_j for the columns of a table: events (d,), continuous.

    Args:
        column_mean, column_std: d numbers each, raw units.
        columns: their names, or none.
        table: what the columns are, where some are discrete: these get noise, and `quantize` takes it away.

    In model units every column has mean 0 and standard deviation 1, hence `mean` and `sigma_data`.

    Raises:
        ValueError: for moments or names of unequal numbers, a mean that is not finite, or a standard deviation that is
            not positive and finite; in a call, for another number of columns.
    """

    column_mean: tuple[float, ...]
    column_std: tuple[float, ...]
    columns: tuple[str, ...] = ()
    table: TableSchema | None = None

    def __post_init__(self) -> None:
        for name in ("column_mean", "column_std", "columns"):  # a checkpoint gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.column_mean or len(self.column_mean) != len(self.column_std):
            raise ValueError(
                f"Standardize: column_mean and column_std must be of one length, at least 1; "
                f"got {len(self.column_mean)} and {len(self.column_std)}"
            )
        if self.columns and len(self.columns) != len(self.column_mean):
            raise ValueError(f"Standardize: columns must be {len(self.column_mean)} names; got {len(self.columns)}")
        if self.table is not None and not (
            isinstance(self.table, TableSchema) and len(self.table.entries) == len(self.column_mean)
        ):
            raise ValueError(f"Standardize: table must be a TableSchema of {len(self.column_mean)} entries")
        if not (all(map(math.isfinite, self.column_mean)) and all(0 < s < math.inf for s in self.column_std)):
            raise ValueError("Standardize: column_mean must be finite, column_std positive and finite")

    @classmethod
    def measured(cls, x: Tensor | Source, *, columns: Sequence[str] = ()) -> Standardize:
        """The transform that gives each column of `x` mean 0 and standard deviation 1; a source is read in chunks.

        A source's `table` is kept.

        Raises:
            ValueError: for events that are not (d,), or a constant column, by name: a density on it would be infinite.
        """
        shape = tuple(x.shape[1:]) if isinstance(x, Tensor) else x.event_shape
        if len(shape) != 1:
            raise ValueError(f"Standardize is for tables, events of shape (d,); got {shape}: use Scale")
        columns = tuple(columns) or tuple(getattr(x, "columns", ()))
        m = moments(x, per_entry=True)
        table: TableSchema | None = getattr(x, "table", None)
        mean, var = (m.mean, m.var) if table is None else table.noised_moments(m.mean, m.var)
        # what is discrete has its noise, though one value may be all there is of it in these rows
        constant = torch.nonzero((m.low == m.high) & (var == m.var)).flatten().tolist()
        if constant:
            names = ", ".join(columns[j] if columns else f"column {j}" for j in constant)
            raise ValueError(f"Standardize needs columns that vary; leave out the constant {names}")
        return cls(tuple(mean.tolist()), tuple(var.sqrt().tolist()), columns, table)

    def log_jacobian(self, dims: int) -> float:
        """log |det dx / dy| = -sum_j log std_j, nats; `dims` must be the number of columns."""
        if dims != len(self.column_std):
            raise ValueError(f"dims must be the {len(self.column_std)} columns; got {dims}")
        return -math.fsum(map(math.log, self.column_std))

    def dequantize(self, x_raw: Tensor, generator: Randomness = None) -> Tensor:
        """Model units; what is discrete in a table gets uniform noise first, and continuous data none."""
        return self(x_raw if self.table is None else self.table.noised(x_raw.float(), generator))

    def quantize(self, x: Tensor) -> Tensor:
        """Model units to raw ones, without the noise of `dequantize`: what is discrete in a table is itself again."""
        return self.inverse(x) if self.table is None else self.table.snap(self.inverse(x))

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-1:] != (len(self.column_mean),):
            raise ValueError(f"Standardize has {len(self.column_mean)} columns; got shape {tuple(x.shape)}")
        return x.new_tensor(self.column_mean), x.new_tensor(self.column_std)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors each image, left to right, with the given probability: an augmentation, before or after a transform.

    The law it trains is the symmetrised one, (1 - p) p(x) + p p(flip x).

    Raises:
        ValueError: for a probability outside [0, 1]; in a call, for fewer than two axes.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"HorizontalFlip: probability must lie in [0, 1]; got {self.probability}")

    def __call__(self, x: Tensor, generator: Randomness = None) -> Tensor:
        """(B, ..., W), any dtype."""
        if x.ndim < 2:
            raise ValueError(f"HorizontalFlip needs (B, ..., W); got shape {tuple(x.shape)}")
        flipped = rand((len(x),), generator, x.device) < self.probability
        return torch.where(flipped.reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def dequantize(x_raw: Tensor, generator: Randomness = None) -> Tensor:
    """y = x_raw + u, u ~ U[0, 1), float32: floor(y) is `x_raw` again, exactly, for integers below 2^23."""
    whole = x_raw.to(torch.float32)
    y = whole + rand(x_raw.shape, generator, whole.device)
    return torch.minimum(y, torch.nextafter(whole + 1, whole))  # a sum may round up to the next integer


def quantize(y: Tensor, levels: int) -> Tensor:
    """floor(y), clipped to 0..levels - 1, int64."""
    return y.floor().clamp(0, levels - 1).to(torch.int64)


def bits_per_dim(log_prob: Tensor, transform: Transform, dims: int) -> Tensor:
    """-log2 p_y(y) / dims, from `log_prob` = log p_x(x) in nats where x = transform(y); shape of `log_prob`.

    The unit of y is one grey level, so on dequantised data the mean is an upper bound on the bits per dimension of the
    integers.

    Args:
        log_prob: nats, of the dequantised and scaled data.
        transform: the one the data went through.
        dims: entries in an event: channels x height x width.

    Raises:
        ValueError: for less than one dimension, or a transform without dequantisation.
    """
    if dims < 1:
        raise ValueError(f"dims must be at least 1; got {dims}")
    if not getattr(transform, "noise", True):
        raise ValueError("bits per dimension need a model of dequantised data; this one saw the bare integers")
    return -(log_prob + transform.log_jacobian(dims)) / (dims * math.log(2))


def _levels(x_raw: Tensor | Source, levels: int | None) -> int | None:
    return levels if levels is not None or isinstance(x_raw, Tensor) else x_raw.levels


def _dequantised_moments(x_raw: Tensor | Source, levels: int | None) -> tuple[float, float]:
    """Mean and standard deviation of x_raw + u: u adds 1/2 to the mean and 1/12 to the variance."""
    m = moments(x_raw)
    low, high = float(m.low), float(m.high)
    if levels is None:
        if not math.isfinite(float(m.var)):
            raise ValueError(f"x_raw must be finite; got values in {low:g}..{high:g}")
        return float(m.mean), math.sqrt(float(m.var)) if low < high else 0.0
    if not 0 <= low <= high <= levels - 1:
        raise ValueError(f"x_raw must lie in 0..{levels - 1}; got {low:g}..{high:g}")
    return float(m.mean) + 0.5, math.sqrt(float(m.var) + 1 / 12)
