"""What a run is a function of, as plain values: kept in its checkpoints, and compared before it goes on from one.

A record maps a name to a plain value, which may be a mapping itself: `net`, `schedule`, `batch_size`, `data`, ... A
part is its class and the arguments of its constructor that it keeps, a function its name. Two records differ where a
name of both has another value; a name that one of them lacks, as of a version that did not know it, is no difference,
but for the keywords of a functools.partial: these are its caller's, and one that is not given is a difference.
Recipes are compared by the same rule.

How many steps, what is logged and kept, and on what machine is not in it: a run goes on with any of these.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor, nn

from scorefield.storage.compiled import uncompiled
from scorefield.storage.sharded import class_of

#: Options of training that may change from one part of a run to the next: its length, its machine, its patience.
FREE = ("steps", "accumulate", "channels_last", "compile", "shard", "patience", "rollbacks")

CLOSE = 1e-6  # relative: statistics measured on the data differ in their last bits between processors
LISTED = 64  # numbers of a tensor that are written out
DEPTH = 8  # of parts within parts
PARTIAL = "partial"  # the type of a functools.partial


class Difference(NamedTuple):
    """Between two records."""

    name: str  # "net.width"
    there: str  # the values, as they are shown
    here: str


def described(value: Any, depth: int = DEPTH) -> Any:
    """`value` as plain data that tell it from another: values, classes with their arguments, names of functions."""
    if isinstance(value, np.ndarray | np.generic):
        value = torch.from_numpy(np.array(value)) if value.dtype.kind in "biuf" else str(value)
    if isinstance(value, nn.Parameter):  # it learns: what it is at the start is for the seed to say
        return {"shape": list(value.shape)}
    if isinstance(value, Tensor):
        return _numbers(value.detach())
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if not depth:
        return type(value).__name__
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return {str(name): described(entry, depth - 1) for name, entry in entries.items()}
    if isinstance(value, tuple | list):
        return [described(entry, depth - 1) for entry in cast("list[Any]", value)]
    if isinstance(value, set | frozenset):
        return sorted((described(entry, depth - 1) for entry in cast("set[Any]", value)), key=repr)
    if isinstance(value, functools.partial):
        made = cast("functools.partial[Any]", value)
        return {"type": PARTIAL, **described({"of": made.func, "args": made.args, **made.keywords}, depth - 1)}
    if isinstance(value, type) or inspect.isroutine(value):
        return cast(str, value.__name__)
    if isinstance(value, nn.Module):
        value = uncompiled(value)
    cls = class_of(value)
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.init]
    else:
        names = _arguments(cls)
    kept = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return {"type": cls.__name__, **described(kept, depth - 1)}


def _arguments(cls: type) -> list[str]:
    try:
        return list(inspect.signature(cls).parameters)
    except (TypeError, ValueError):  # written in C, some
        return []


def difference(there: Mapping[str, Any], here: Mapping[str, Any], *, exact: bool = False) -> Difference | None:
    """The first name of both records, or `exact`ly: of either, whose value differs; None if there is none."""
    for name in {**there, **here}:
        if name in there and name in here:
            found = _unlike(there[name], here[name])
        else:
            shown = (_shown(side[name]) if name in side else "not given" for side in (there, here))
            found = Difference("", *shown) if exact else None
        if found:
            return Difference(f"{name}{found.name}", found.there, found.here)
    return None


def _unlike(there: Any, here: Any) -> Difference | None:
    """The first difference within a value, its name as it goes on: ".width"."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        ours, theirs = cast("Mapping[str, Any]", here), cast("Mapping[str, Any]", there)
        kinds = (theirs.get("type"), ours.get("type"))
        if kinds[0] != kinds[1]:
            return Difference("", *map(_shown, kinds))
        found = difference(theirs, ours, exact=kinds[0] == PARTIAL)
        return found and found._replace(name=f".{found.name}")
    if isinstance(there, list) and isinstance(here, list):
        pair = cast("tuple[list[Any], list[Any]]", (there, here))
        differences = [_unlike(*entries) for entries in zip(*pair, strict=False)]
        for i, found in enumerate(differences):
            if found and found.name:  # within an entry: "args[0].power"
                return found._replace(name=f"[{i}]{found.name}")
        same = len(pair[0]) == len(pair[1]) and not any(differences)
    elif _is_number(there) and _is_number(here):
        same = math.isclose(there, here, rel_tol=CLOSE, abs_tol=1e-12) or (math.isnan(there) and math.isnan(here))
    else:
        same = there == here and isinstance(there, bool) == isinstance(here, bool)
    return None if same else Difference("", _shown(there), _shown(here))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Short: a part by its class alone."""
    kind = cast("Mapping[str, Any]", value).get("type") if isinstance(value, Mapping) else None
    text = value if isinstance(value, str) else repr(value) if kind is None else str(kind)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbers(tensor: Tensor) -> Any:
    """The numbers of a tensor, or of a large one what tells it from another."""
    if tensor.numel() <= LISTED:
        return tensor.tolist()
    wide = tensor.to(torch.float64)
    return {"shape": list(tensor.shape), "mean": float(wide.mean()), "std": float(wide.std())}
