"""What a table is: its columns as events of numbers, and back to a table with its own names, types and units.

A row becomes an event (d,), float32:

    a number       itself; whole numbers and decimals are rounded to the data's digits on the way back
    a boolean      0 or 1
    a category     one entry for each of its values, 1 for the one it is (one-hot); back by the largest. Text, and whole
                   numbers of few values, whose frequencies a network of real numbers would smear into each other
    missing        where it is learned: one more entry, 1 where the cell was empty; back as an empty cell

and a label column is a class. What is discrete is dequantised when a model is trained, y = x + w u for each such entry,
u ~ U(-1/2, 1/2) and w = 1/2: rounding or the largest entry gives x back exactly, and E_u log p(y) + sum log w is a
lower bound on the log of what is mass (discrete) times density (continuous), as for the grey values of pictures. Where
a number is missing, what stands in its place is drawn uniformly from the column's range, so that no density gathers on
an imputed value.

Taken from others: one-hot entries noised as real numbers and read back by the largest, as in StaSy; missing as a
category of its own, and samples kept within the range of the data and rounded to its digits, as CTGAN's library does.
TabDDPM's quantile transform of numbers is not taken (its log-Jacobian would be each row's own), nor its multinomial
noise (there is one noise here, and one score).

References:
    Xu et al. 2019, Modeling tabular data using conditional GAN (CTGAN).
    Kotelnikov et al. 2023, TabDDPM: modelling tabular data with diffusion models.
    Kim, Lee & Park 2023, STaSy: score-based tabular data synthesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from scorefield.data._columns import CellError, Column, Label, codes_of, decoded, encoded, item, listed, of_values
from scorefield.randomness import Randomness, choice, rand

if TYPE_CHECKING:
    from pandas import DataFrame

Missing = Literal["refuse", "drop", "impute", "learn"]

WIDTH = 0.5  # of the noise about a discrete value: less than 1, so that nothing lies between two values


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table: `encode` makes events of its rows, `decode` makes rows of events. Plain values.

    Args:
        columns: those of the event.
        label: the column of classes, or none.
        order: the names as they stand in the table.
        missing: what becomes of rows with empty cells.

    Raises:
        ValueError: for an unknown rule, no columns, an order of others, or a column that no table has.
    """

    columns: tuple[Column, ...]
    label: Label | None = None
    order: tuple[str, ...] = ()
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        def deep(value: Any) -> Any:  # a checkpoint gives lists
            return tuple(map(deep, value)) if isinstance(value, list | tuple) else value

        object.__setattr__(self, "columns", tuple(Column(*deep(c)) for c in self.columns))
        object.__setattr__(self, "label", None if self.label is None else Label(*deep(self.label)))
        names = [c.name for c in self.columns] + ([] if self.label is None else [self.label.name])
        object.__setattr__(self, "order", tuple(self.order) or tuple(names))
        if self.missing not in get_args(Missing):
            raise ValueError(f"missing must be {', '.join(get_args(Missing))}; got {self.missing!r}")
        for part in (*self.columns, *([] if self.label is None else [self.label])):
            part.check()
        if not self.columns or len({*names}) < len(names) or sorted(self.order) != sorted(names):
            raise ValueError(f"a table has columns of different names, and order has them all; got {self.order!r:.200}")

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entries of an event."""
        return tuple(name for column in self.columns for name in column.entries)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes; () where they are the numbers 0, 1, ..."""
        values = () if self.label is None else self.label.values
        return () if values == tuple(range(len(values))) else tuple(map(str, values))

    def encode(self, frame: DataFrame) -> Tensor:
        """`(N, d)` float32, of a table that has these columns, in any order and among others.

        Raises:
            CellError: for a missing cell where none is expected, a value that is not among the categories, what is no
                finite number; by row and column.
            ValueError: for a column that is not there, or a number too large for float32.
        """
        parts = []
        for column in self.columns:
            if column.name not in frame:
                raise ValueError(f"no column {column.name!r}; there are {', '.join(map(str, frame.columns))}")
            series: Any = frame[column.name]
            absent = series.isna().to_numpy(bool)
            if absent.any() and not column.missing and self.missing != "impute":
                raise CellError(int(absent.argmax()), column.name, "missing value, and none was missing in training")
            parts.append(encoded(column, series, absent))
        x = torch.from_numpy(np.concatenate(parts, axis=1))
        narrow = x.to(torch.float32)
        if not bool(torch.isfinite(narrow).all()):
            row, entry = torch.nonzero(~torch.isfinite(narrow))[0].tolist()
            raise ValueError(f"column {self.entries[entry]!r}: {x[row, entry]:g} is too large for float32")
        return narrow

    def classes(self, frame: DataFrame) -> Tensor:
        """`(N,)` int64, of the label column.

        Raises:
            CellError: for a value that is none of the classes, by row.
            ValueError: without a label column.
        """
        if self.label is None:
            raise ValueError("this table has no label column")
        series: Any = frame[self.label.name]
        codes = codes_of(series, self.label.values)
        if (codes < 0).any():
            row = int((codes < 0).argmax())
            reason = f"{item(series.iloc[row])!r} is none of the classes, {listed(self.label.values)}"
            raise CellError(row, self.label.name, reason)
        return torch.from_numpy(codes)

    def decode(self, events: Tensor, label: Tensor | None = None) -> DataFrame:
        """The table of `events` `(N, d)`, as a model samples them: each column in its own type, digits and range.

        Args:
            label: `(N,)` classes; without them the table has no label column.

        Raises:
            ValueError: for events of another length.
        """
        import pandas as pd

        if events.ndim != 2 or events.shape[1] != len(self.entries):
            raise ValueError(f"events must be (N, {len(self.entries)}); got {tuple(events.shape)}")
        table: dict[str, Any] = {}
        for column, x in zip(self.columns, self._split(events.detach().cpu().double()), strict=True):
            table[column.name] = decoded(column, x.numpy())
        if self.label is not None and label is not None:
            table[self.label.name] = of_values(self.label.values, label.tolist(), self.label.dtype)
        return pd.DataFrame({name: table[name] for name in self.order if name in table})

    def snap(self, events: Tensor) -> Tensor:
        """`events` with what is discrete rounded to what it stands for: whole numbers, 0 or 1, one-hot."""
        parts = []
        for column, x in zip(self.columns, self._split(events), strict=True):
            if column.kind == "category":
                parts.append(torch.nn.functional.one_hot(x.argmax(1), x.shape[1]).to(x))
                continue
            value = x[:, :1]
            value = (value > 0.5).to(x) if column.kind == "boolean" else value.round() if column.whole else value
            parts.append(torch.cat([value, (x[:, 1:] > 0.5).to(x)], 1))
        return torch.cat(parts, 1)

    def noised(self, events: Tensor, generator: Randomness = None) -> Tensor:
        """Dequantised: what is discrete with uniform noise of width w about it, what is missing anywhere in its range.

        `generator` may be a `Stream`: the noise is then each row's own.
        """
        u = rand(tuple(events.shape), generator, events.device).to(events)
        parts = []
        for column, x, v in zip(self.columns, self._split(events), self._split(u), strict=True):
            if column.kind == "category":
                parts.append(x + WIDTH * (v - 0.5))
                continue
            spread = WIDTH * (v - 0.5) if column.kind == "boolean" or column.whole else torch.zeros_like(v)
            value = x[:, :1] + spread[:, :1]
            if column.missing:
                anywhere = column.low + (column.high - column.low) * v[:, :1]
                value = torch.where(x[:, 1:] > 0.5, anywhere, value)
            parts.append(torch.cat([value, x[:, 1:] + WIDTH * (v[:, 1:] - 0.5)], 1))
        return torch.cat(parts, 1)

    @property
    def log_width(self) -> float:
        """sum log w: what turns the log-density of `noised` data into a bound on the log of mass times density."""
        discrete = sum(len(c.entries) - (c.kind == "number" and not c.whole) for c in self.columns)
        return discrete * math.log(WIDTH)

    def noised_moments(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each entry of `noised` data, of those of the data."""
        mean, var = mean.clone(), var.clone()
        first = 0
        for column in self.columns:
            n = len(column.entries)
            if column.kind != "number" or column.whole:
                var[first] += WIDTH**2 / 12
            var[first + 1 : first + n] += WIDTH**2 / 12
            if column.missing and column.kind != "category":
                share, fill = float(mean[first + 1]), float(column.fill)
                middle, spread = (column.low + column.high) / 2, (column.high - column.low) ** 2 / 12
                before = float(mean[first])
                squares = float(var[first]) + before**2 + share * (middle**2 + spread - fill**2)
                mean[first] = before + share * (middle - fill)
                var[first] = squares - float(mean[first]) ** 2
            first += n
        return mean, var

    def drawn_classes(self, n: int, generator: Randomness = None) -> Tensor | None:
        """`(n,)` classes in the proportions of the data; None without a label."""
        if self.label is None:
            return None
        return choice(torch.tensor(self.label.counts, dtype=torch.float64, device="cpu"), n, generator)

    def __str__(self) -> str:
        """'2 numbers, 1 of them whole, 1 category (island 3), label species (3 classes)'."""
        numbers = [c for c in self.columns if c.kind == "number"]
        whole = sum(c.whole for c in numbers)
        texts = [f"{c.name} {len(c.values)}{' and missing' * c.missing}" for c in self.columns if c.kind == "category"]
        booleans = sum(c.kind == "boolean" for c in self.columns)
        parts = [f"{_count(len(numbers), 'number')}{f' ({whole} whole)' if whole else ''}"] if numbers else []
        parts += [_count(booleans, "boolean")] if booleans else []
        parts += [f"{_count(len(texts), 'category', 'categories')} ({', '.join(texts[:8])})"] if texts else []
        if self.label is not None:
            seen = sum(map(bool, self.label.counts))
            parts.append(f"label {self.label.name!r} ({_count(seen, 'class', 'classes')})")
        return ", ".join(parts)

    def _split(self, events: Tensor) -> Sequence[Tensor]:
        return events.split([len(column.entries) for column in self.columns], 1)


def plain(names: Sequence[str]) -> TableSchema:
    """Of real numbers of any size under these names."""
    return TableSchema(tuple(Column(n, "number", "float64", low=-np.inf, high=np.inf) for n in names))


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
