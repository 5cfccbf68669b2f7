"""Parts as plain values, their class's name and the arguments of its constructor; and built again from them.

A description may be a stranger's, and ask for more than there is: `bounded` builds a module on the device `meta` first,
where tensors have no memory, and counts what it registers against the tensors that came with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from scorefield.catalogue import MODELS, Entry, find, stored_classes
from scorefield.data import Standardize
from scorefield.data.latent_space import LatentSpace
from scorefield.storage.compiled import uncompiled
from scorefield.storage.sharded import class_of

LARGEST = 1 << 30  # numbers in one datum
_TIMES = 4  # as many tensors and numbers as there are may be registered: some are more than once
_SPARE = (1000, 1_000_000)  # tensors and numbers: what is no weight, and small


def describe(value: Any) -> dict[str, Any]:
    """`value` as plain data: its class's name and the arguments of its constructor.

    Raises:
        ValueError: for an argument that is not an attribute, or not a plain value.
    """
    value = uncompiled(value)
    cls = class_of(value)
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.init]
    else:
        names = list(inspect.signature(cls).parameters)
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise ValueError(
            f"{cls.__name__} can't be described: its constructor's argument {missing[0]!r} is not an attribute"
        )
    return {"type": cls.__name__, **{name: _plain(getattr(value, name), inside=value) for name in names}}


def build(description: Mapping[str, Any], types: Mapping[str, type] = MappingProxyType({})) -> Any:
    """The value that `describe` described; `types` are classes by name, before those of the catalogue.

    Raises:
        ValueError: for an unknown type.
    """
    arguments = {
        name: build(value, types) if isinstance(value, Mapping) else value for name, value in description.items()
    }
    name = arguments.pop("type")
    if name in types:
        return types[name](**arguments)
    place = stored_classes().get(name)
    if place is None:
        raise ValueError(f"unknown type {name!r} in a checkpoint; pass its class in `types` if it is yours")
    return find(place)(**arguments)


def bounded(
    description: Mapping[str, Any], types: Mapping[str, type], tensors: Mapping[str, Tensor], prefix: str
) -> Any:
    """The same, where the weights of what is described are among the `tensors`, under names that begin with `prefix`.

    Raises:
        ValueError: as `build`; for a module of more weights than there are.
    """
    place = stored_classes().get(str(description.get("type")))
    kind = None if place is None or description["type"] in types else find(place)
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        there = [tensor for name, tensor in tensors.items() if name.startswith(prefix)]
        try:
            with torch.device("meta"), _counting(len(there), sum(tensor.numel() for tensor in there)):
                build(description, types)
        except (NotImplementedError, RuntimeError):  # what needs numbers to be made: its parts were counted
            pass
    return build(description, types)


def plain_meta(meta: Any) -> dict[str, Any]:
    """What a checkpoint says of itself, its data's shape and classes looked at: a stranger may say anything.

    Raises:
        ValueError: for what no data have.
    """
    if not isinstance(meta, dict):
        raise ValueError(f"meta must be a mapping; got {meta!r:.60}")
    shape, names = meta.get("event_shape", []), meta.get("class_names", [])
    sizes = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    if not sizes or math.prod(shape) > LARGEST:
        raise ValueError(f"meta.event_shape must be sizes from 1, of at most {LARGEST:,} numbers; got {shape!r:.60}")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"meta.class_names must be names; got {names!r:.60}")
    return meta


@contextlib.contextmanager
def _counting(tensors: int, numbers: int) -> Iterator[None]:
    """Stops a module, while it is being made in this thread, at too many tensors or numbers in them.

    Raises:
        ValueError: for those.
    """
    left = [_TIMES * tensors + _SPARE[0], _TIMES * numbers + _SPARE[1]]
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != thread:
            return
        left[0], left[1] = left[0] - 1, left[1] - tensor.numel()
        if min(left) < 0:
            raise ValueError(f"its description asks for far more weights than the {numbers:,} numbers that are there")

    register = (hooks.register_module_parameter_registration_hook, hooks.register_module_buffer_registration_hook)
    handles = [add(count) for add in register]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def trained_classes() -> dict[str, Entry]:
    """Where what is trained stands, by the name of its class."""
    return {str(entry).rpartition(":")[2]: entry for entry in MODELS.values()}


def _plain(value: Any, inside: Any = None) -> Any:
    if isinstance(value, Tensor):
        return value.to(torch.float64).tolist() if value.is_floating_point() else value.tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    whole = isinstance(inside, LatentSpace | Standardize) or (
        inside is not None and class_of(inside).__name__ in trained_classes()
    )
    if whole and (isinstance(value, nn.Module) or dataclasses.is_dataclass(value)):
        return describe(value)  # its weights are among those of the whole
    if isinstance(value, nn.Module) or not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"only plain values can be kept in a checkpoint; got {value!r}")
    return value
