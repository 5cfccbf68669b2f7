"""What users hold, as the source that training reads: tensors, arrays, torch's data sets and loaders.

A run is a function of its seed, so it reads by row: it shuffles by itself, and takes a data set by `len(dataset)` and
`dataset[i]`. What a loader adds, an order, workers, a way to collate, is not asked for; one that draws by a sampler of
its own or makes batches its own way says something that would be lost, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate

from scorefield._caller import warn
from scorefield.conditions import for_each
from scorefield.data import Arrays, Mapped, Source
from scorefield.data.sources import as_tensor
from scorefield.storage.compiled import uncompiled

KINDS = "a tensor or array (N, *event), a torch Dataset or DataLoader, or a source of scorefield.data"


def source_of(data: Any, labels: Any = None, *, told: nn.Module | None = None, dtype: torch.dtype) -> Source:
    """`data` as a source; its labels are those given beside an array, or those of a data set's pairs.

    Args:
        told: the network that gets the labels, which knows how many classes there are; None where it is not known. One
            that takes none gets none of a data set's, and a warning says so.
        dtype: in which continuous arrays are kept.

    Raises:
        ValueError: for no data, labels of another length or beside what brings its own, a loader with a sampler or a
            collate_fn of its own.
        TypeError: for anything else, a set without rows among them.
    """
    if isinstance(data, DataLoader):
        data = _dataset(data)
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple) and _is_pair(data[0]):
        raise TypeError(
            "data must be arrays and labels apart, fit(denoiser, data, labels=labels), or a torch Dataset of pairs; "
            f"got a {type(data).__name__} of pairs"
        )
    if isinstance(data, Tensor | list | tuple) or (hasattr(data, "__array__") and not isinstance(data, Source)):
        return _arrays(data, labels, dtype)
    if labels is not None:
        raise ValueError(f"labels go with a tensor or an array; {type(data).__name__} brings its own")
    if isinstance(data, Source):
        return data
    if isinstance(data, IterableDataset):
        raise TypeError(f"data must have rows to read by number, len and dataset[i]; got {type(data).__name__}")
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")) or isinstance(data, str | bytes | Mapping):
        raise TypeError(f"data must be {KINDS}; got {type(data).__name__}")
    return _mapped(data, uncompiled(told))


def batch_size_of(data: Any) -> dict[str, int]:
    """The option that a loader brings."""
    size = data.batch_size if isinstance(data, DataLoader) else None
    return {} if size is None else {"batch_size": size}


def takes_labels(net: nn.Module) -> bool:
    """Whether a network has a place for `label`: by its `conditions`, or where it has none by its arguments."""
    conditions = getattr(net, "conditions", None)
    return "label" in (inspect.signature(net.forward).parameters if conditions is None else conditions)


def _is_pair(item: Any) -> bool:
    """Whether an item is (array, label), and no array itself."""
    return len(item) == 2 and np.ndim(item[0]) > 0 and np.ndim(item[1]) == 0


def _arrays(data: Any, labels: Any, dtype: torch.dtype) -> Arrays:
    data = as_tensor("data", data)
    if not data.ndim or len(data) < 1:
        raise ValueError(f"data must be (N, *event) and not empty; got shape {tuple(data.shape)}")
    try:
        source = Arrays(data, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"data: {error}") from None
    if labels is None:
        return source
    label = for_each("labels", labels, source.x)
    if label.shape != (len(source),):
        raise ValueError(f"labels must have shape ({len(source)},), one for each datum; got {tuple(label.shape)}")
    try:
        return Arrays(data, label.contiguous(), dtype=dtype)
    except ValueError as error:
        raise ValueError(f"labels: {error}") from None


def _mapped(dataset: Any, told: nn.Module | None) -> Mapped:
    if told is None or takes_labels(told):
        return Mapped(dataset, num_classes=getattr(told, "num_classes", None))
    if isinstance(dataset[0], tuple | list) and len(dataset[0]) > 1:
        warn(f"{type(told).__name__} takes no label: it is trained without those of the data")
    return Mapped(dataset, conditional=False)


def _dataset(loader: DataLoader[Any]) -> Any:
    """What a loader reads, if that is all it says."""
    own = None
    if not isinstance(loader.dataset, IterableDataset):
        plain = isinstance(loader.sampler, RandomSampler | SequentialSampler)
        own = None if plain else f"the sampler {type(loader.sampler).__name__}"
        if loader.collate_fn is not default_collate:
            own = "a collate_fn"
        if loader.batch_size is None:
            own = "batches of its own"
    if own is not None:
        raise ValueError(
            f"fit shuffles and makes batches itself, and the DataLoader brings {own}: give its dataset, fit(..., "
            "loader.dataset), or a source of your own whose batch(rows) does as much"
        )
    return loader.dataset
