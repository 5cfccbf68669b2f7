"""Where data come from: a source is a length and `batch(rows)`, whatever it reads.

x stays in raw units (bytes for images, float32 for everything continuous) until a transform, drawn fresh for each
batch, makes it the model's; labels and other conditions travel beside it. Datum i is the same whatever else is in the
batch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from scorefield.data.schema import TableSchema

CHUNK_BYTES = 32 << 20  # of float64, when a source is read through


class Batch(NamedTuple):
    """Some data, raw."""

    x: Tensor  # (n, *event)
    cond: dict[str, Tensor]  # each (n, ...); "label", int64, among them where the data have classes


@runtime_checkable
class Source(Protocol):
    """What training reads. Anything with these five is one."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one datum: (C, H, W) for images."""
        ...

    @property
    def levels(self) -> int | None:
        """x holds the integers 0 .. levels - 1; None for continuous data."""
        ...

    @property
    def num_classes(self) -> int | None:
        """cond["label"] holds 0 .. num_classes - 1; None without labels."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Batch:
        """The data at `rows`, (n,) int64 in 0 .. len - 1, in that order."""
        ...


class Arrays:
    """Data in memory.

    Args:
        x: `(N, *event)`, a tensor or an array. Kept as it is when it has levels, else in `dtype`, and must then be
            finite.
        label: `(N,)` integers from 0, cond["label"].
        cond: other conditions, each `(N, ...)`.
        levels: of integers 0 .. levels - 1. uint8 has 256 and uint16 65536 unless this says otherwise; other types are
            continuous unless it says so.
        num_classes: where `label` may lack the last classes; else as many as `class_names`, or the largest label + 1.
        class_names: of the labels 0, 1, ...
        columns: names of the entries of a `(d,)` event: a table's.
        table: what the entries of a table are.
        said: what its reader has to say of what was read, in lines.
        rows: `(N,)` which of its file's rows these are, where some were left out.
        dtype: of continuous data.

    Raises:
        ValueError: no data; another length; values outside 0 .. levels - 1, or NaN; labels outside the classes.
    """

    def __init__(
        self,
        x: Tensor | np.ndarray,
        label: Tensor | np.ndarray | Sequence[int] | None = None,
        *,
        cond: Mapping[str, Tensor] | None = None,
        levels: int | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        columns: Sequence[str] = (),
        table: TableSchema | None = None,
        said: Sequence[str] = (),
        rows: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        x, levels, num_classes = as_tensor("x", x), _count(levels), _count(num_classes)
        if x.ndim < 1 or x.numel() == 0:
            raise ValueError(f"x must be (N, *event) and not empty; got shape {tuple(x.shape)}")
        self.levels = levels if levels is not None else {torch.uint8: 256, torch.uint16: 65536}.get(x.dtype)
        self.x = _stored(x, self.levels, dtype)
        self.event_shape = tuple(x.shape[1:])
        self.class_names, self.columns = tuple(class_names), tuple(columns)
        self.table, self.said, self.rows = table, tuple(said), rows
        if self.columns and self.event_shape != (len(self.columns),):
            raise ValueError(f"columns must name the entries of an event; got {len(self.columns)} for {x.shape[1:]}")
        self.cond = {name: as_tensor(name, value) for name, value in (cond or {}).items()}
        self.num_classes = None
        if label is not None:
            self.cond["label"], self.num_classes = _labels(
                as_tensor("label", label), num_classes or len(self.class_names) or None
            )
        for name, value in self.cond.items():
            if len(value) != len(x):
                raise ValueError(f"{name} must have one row for each of the {len(x)} data; got {len(value)}")

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> Batch:
        check_rows(rows, len(self))
        return Batch(take(self.x, rows), {name: take(value, rows) for name, value in self.cond.items()})

    def __repr__(self) -> str:
        return f"Arrays({len(self)} x {self.event_shape}, levels={self.levels}, num_classes={self.num_classes})"


class Mapped:
    """Any map-style data set: `len(dataset)` and `dataset[i]`.

    An item is an array (tensor, NumPy, or a PIL image, which becomes (C, H, W) bytes), a pair (array, label), or a
    mapping with the array under `x`; its other numbers become conditions of the same names. All arrays have one shape.
    A tuple of the array alone, as of a TensorDataset, is the array.

    Args:
        levels: as of `Arrays`.
        num_classes: without it, the length of `dataset.classes` where there is one. Labels need one of the two.
        x: the array's name in a mapping.
        conditional: False leaves everything but the array out.

    Raises:
        ValueError: an empty data set or an item of another kind; when read, an item of another shape, by its index.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        levels: int | None = None,
        num_classes: int | None = None,
        x: str = "x",
        conditional: bool = True,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset must not be empty")
        self.dataset, self._x, self._conditional = dataset, x, conditional
        levels, num_classes = _count(levels), _count(num_classes)
        array, cond = self._item(0)
        self.class_names = tuple(str(name) for name in getattr(dataset, "classes", ()))
        self.num_classes = (num_classes or len(self.class_names) or None) if "label" in cond else None
        if "label" in cond and self.num_classes is None:
            raise ValueError("dataset has labels but no `classes`: pass num_classes, Mapped(dataset, num_classes=...)")
        self.levels = levels if levels is not None else {torch.uint8: 256, torch.uint16: 65536}.get(array.dtype)
        self.event_shape = tuple(array.shape)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, rows: Tensor) -> Batch:
        check_rows(rows, len(self))
        items = [(i, *self._item(i)) for i in rows.tolist() or [0]]  # no rows: the shapes and types of one
        for i, array, cond in items:
            if tuple(array.shape) != self.event_shape:
                raise ValueError(f"dataset[{i}] must have shape {self.event_shape}, like the first; got {array.shape}")
            if self.num_classes is not None and not 0 <= int(cond["label"]) < self.num_classes:
                raise ValueError(f"dataset[{i}] has label {int(cond['label'])}; expected 0..{self.num_classes - 1}")
        x = _stored(torch.stack([array for _, array, _ in items]), self.levels)
        cond = {name: torch.stack([cond[name] for *_, cond in items]) for name in items[0][2]}
        return Batch(x[: len(rows)], {name: value[: len(rows)] for name, value in cond.items()})

    def _item(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        item = self.dataset[i]
        if isinstance(item, Mapping):
            if self._x not in item:
                there = ", ".join(map(str, item))
                raise ValueError(f"dataset[{i}] has no {self._x!r}; it has {there}: pass x, Mapped(dataset, x=...)")
            cond = {name: value for name, value in item.items() if name != self._x and self._conditional}
            return _tensor(item[self._x]), {name: _condition(i, name, value) for name, value in cond.items()}
        if isinstance(item, tuple | list) and (len(item) == 1 or not self._conditional):
            return _tensor(item[0]), {}
        if isinstance(item, tuple | list) and len(item) == 2:
            return _tensor(item[0]), {"label": _condition(i, "label", item[1])}
        if isinstance(item, tuple | list):
            raise ValueError(f"dataset[{i}] must be an array, (array, label) or a mapping; got {len(item)} parts")
        return _tensor(item), {}


class Requantised:
    """Integers of 256 levels as those of `levels`: k levels // 256. Pictures alone, without their conditions."""

    num_classes = None

    def __init__(self, source: Source, levels: int) -> None:
        self.source, self.levels, self.event_shape = source, levels, source.event_shape

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> Batch:
        x = self.source.batch(rows).x
        return Batch(x if self.levels == 256 else x.long() * self.levels // 256, {})


def in_memory(source: Source) -> Arrays:
    """The same data as one tensor: read once, then as fast as indexing."""
    batches = [source.batch(rows) for rows in chunks(source)]
    cond = {name: torch.cat([b.cond[name] for b in batches]) for name in batches[0].cond}
    names: dict[str, Any] = {name: getattr(source, name, ()) for name in ("class_names", "columns", "said")}
    label = cond.pop("label", None)
    names["table"] = getattr(source, "table", None)
    x = torch.cat([b.x for b in batches])
    return Arrays(x, label, cond=cond, levels=source.levels, num_classes=source.num_classes, **names)


def chunks(source: Source) -> Iterator[Tensor]:
    """All rows in order, `rows_at_a_time` of them."""
    return iter(torch.arange(len(source), device="cpu").split(rows_at_a_time(source.event_shape)))


def rows_at_a_time(event_shape: Sequence[int]) -> int:
    """As many as take 32 MB in float64, at least 1."""
    return max(1, CHUNK_BYTES // (8 * max(1, math.prod(event_shape))))


def take(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`, which on bytes takes many times as long."""
    return values.index_select(0, rows)


def check_rows(rows: Tensor, n: int) -> None:
    """Refuses `rows` that are not (k,) int64 within 0 .. n - 1.

    Raises:
        ValueError: for those.
    """
    if rows.ndim != 1 or rows.dtype != torch.int64:
        raise ValueError(f"rows must be (n,) int64; got {tuple(rows.shape)} {rows.dtype}")
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
        raise ValueError(f"rows must lie in 0..{n - 1}; got {int(rows.min())}..{int(rows.max())}")


def _count(value: Any) -> int | None:
    return None if value is None else operator.index(value)  # of NumPy and torch, too


def _stored(x: Tensor, levels: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
    if levels is None:
        if x.is_complex():
            raise ValueError(f"x must be real; got {x.dtype}: give the two parts as channels, torch.view_as_real")
        x = x.to(dtype)
        if not bool(torch.isfinite(x).all()):
            name = str(dtype).removeprefix("torch.")
            raise ValueError(f"x must be finite in {name}; {int((~torch.isfinite(x)).sum())} entries are not")
        return x
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"x with levels must hold integers; got {x.dtype}")
    x = x.to(torch.int32) if x.dtype == torch.uint16 else x  # torch knows little arithmetic on uint16
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < levels:
        raise ValueError(f"x must lie in 0..{levels - 1}; got {int(x.min())}..{int(x.max())}")
    return x


def _labels(label: Tensor, num_classes: int | None) -> tuple[Tensor, int]:
    if label.ndim != 1 or label.is_floating_point():
        raise ValueError(f"label must be (N,) integers; got {tuple(label.shape)} {label.dtype}")
    label = label.to(torch.int64)
    low, high = int(label.min()), int(label.max())
    if low < 0:
        raise ValueError(f"label must not be negative; got {low}")
    classes = num_classes or high + 1
    if high >= classes:
        raise ValueError(f"label must lie in 0..{classes - 1}; got {low}..{high}")
    return label, classes


def as_tensor(name: str, value: Any) -> Tensor:
    """`value`, a tensor, an array of NumPy or what becomes one, as a tensor; `name` is what a message calls it.

    Raises:
        ValueError: for what holds anything but numbers.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        if other := [v for v in value if v.shape != value[0].shape]:
            shapes = tuple(value[0].shape), tuple(other[0].shape)
            raise ValueError(f"{name} must hold tensors of one shape; got {shapes[0]} and {shapes[1]}")
        return torch.stack(list(value))
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        array = np.empty((), object)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers; got {type(value).__name__} of {array.dtype}")
    if not (array.flags.writeable and array.dtype.isnative and min(array.strides, default=0) >= 0):
        array = np.array(array, array.dtype.newbyteorder("="))  # torch shares memory, and not with any array
    return torch.from_numpy(array)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.array(value)  # a copy: what a data set hands out may be read-only
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an item of the data set must be numbers; got {type(value).__name__}")
    if hasattr(value, "getbands"):  # a PIL image: (H, W) or (H, W, C)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(array)


def _condition(i: int, name: str, value: Any) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"dataset[{i}]: {name} must be numbers; got {type(value).__name__}") from None
    if name == "label" and (tensor.ndim or tensor.is_floating_point()):
        raise ValueError(f"dataset[{i}]: label must be one integer; got {tuple(tensor.shape)} {tensor.dtype}")
    return tensor.to(torch.int64) if name == "label" else tensor
