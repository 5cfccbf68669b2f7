"""The data of a recipe: found by name or path, read as it says, and what is held out of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scorefield import catalogue, data
from scorefield.data import ImageFolder, Source, opening
from scorefield.recipes.schema import HELD_OUT, Data, Recipe
from scorefield.recipes.sources import drawn


class Read(NamedTuple):
    """Data, read."""

    train: Source
    test: Source | None  # held out, where anything is
    spec: Data  # what was read: where the rows are too few to hold any out, held_out is 0
    said: str  # in one line how many rows, and what is held out; nothing of sets that have a split of their own


def read(spec: Data, data_dir: Path | None = None) -> Read:
    """What `spec` names.

    Raises:
        ValueError: for a source that is no path and no name; groups that are not there; as the readers.
        FileNotFoundError: for a source or a test that is a path, and not there.
    """
    name, policy = spec.source, dict(spec.policy)
    if name in catalogue.SOURCES:
        train, test = catalogue.make("data.source", name, catalogue.SOURCES, policy=policy, data_dir=data_dir)
        found = Read(train, test, spec, "") if test is not None else _divided(spec, train, None)
        return found._replace(said="; ".join(filter(None, (found.said, shadowed(name)))))
    if name in catalogue.SHAPES:
        train, test = drawn(name, policy)
        return Read(train, test, spec, shadowed(name))
    if not Path(name).exists():
        raise missing(name)
    if spec.test is not None:
        if spec.groups is not None:
            raise ValueError("data.groups is of what is held out by share, and data.test says what is: give one")
        train = data.load(name, **policy)
        table = getattr(train, "table", None)  # what is held out is read as what is trained on was
        test = data.load(spec.test, **(policy if table is None else data.as_table(spec.test, policy, table)))
        return Read(train, test, spec, f"{_count(train)} of {name}; held out are the {len(test):,} of {spec.test}")
    if spec.groups is None:
        return _divided(spec, data.load(name, **policy), None)
    groups, policy = _groups(Path(name), spec.groups, policy)
    source = data.load(name, **policy)
    if groups is None:
        if not isinstance(source, ImageFolder):
            raise ValueError(f"data.groups: 'folder' is of pictures, and {name} holds none")
        groups = source.groups()
    elif (rows := getattr(source, "rows", None)) is not None:  # less those that were left out
        groups = [groups[row] for row in rows]
    return _divided(spec, source, groups)


def shadowed(name: str) -> str:
    """What is to be said where a file or folder here is called as a named set is: the set is what is read."""
    return f"{name} is the named set; the file or folder of that name is ./{name}" if Path(name).exists() else ""


def missing(name: str, key: str = "data.source") -> Exception:
    """The error for data that are no path and no name."""
    if os.path.isabs(name):
        return FileNotFoundError(f"{key}: there is no {name}")
    near = "" if Path(name).suffix else f". {catalogue.nearest(name, [*catalogue.SOURCES, *catalogue.SHAPES])}"
    return ValueError(f"{key}: {name!r} is no path, and no name{near}")


def for_network(found: Read, network: str, data_dir: Path | None) -> Read:
    """Rows of numbers in an array as series of one channel, where the `network` is one that reads channels."""
    flat = len(found.train.event_shape) == 1 and network.startswith(_OF_CHANNELS)
    if not flat or "layout" in found.spec.policy or not found.spec.source.lower().endswith((".npy", ".npz")):
        return found
    again = read(found.spec.model_copy(update={"policy": {**found.spec.policy, "layout": "L"}}), data_dir)
    taken = f"taken for series of one channel, (N, L), as a {network} reads them. --layout says otherwise"
    return again._replace(said=f"{again.said}; {taken}")


_OF_CHANNELS = ("UNet", "DiT", "Conv")


def without_policy(recipe: Recipe, source: str) -> Recipe:
    """A preset with another `source`, less what it says of how its own is read and another kind of data has not."""
    if source in catalogue.SOURCES or source in catalogue.SHAPES:
        known: Sequence[str] = ()
    elif Path(source).exists():
        known = data.policies(source)
    else:
        return recipe
    policy = {name: value for name, value in recipe.data.policy.items() if name in known}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": source, "policy": policy})})


def _divided(spec: Data, source: Source, groups: Sequence[object] | None) -> Read:
    """By a share of the rows, or of the groups."""
    parts = data.split(source, spec.held_out, groups)
    name = spec.source
    if parts.test is None:
        said = f"{_count(source)} of {name}; none is held out ({parts.why})"
        return Read(source, None, spec.model_copy(update={"held_out": 0.0}), said)
    if parts.groups is not None:
        by = f"of the {parts.groups:,} groups by {spec.groups}"
    else:
        by = "by a hash of each file's content" if isinstance(source, ImageFolder) else "by a hash of each row"
    said = f"{_count(parts.train)} of {name}; {len(parts.test):,} more are held out"
    return Read(parts.train, parts.test, spec, f"{said}, data.held_out = {spec.held_out:g}, {by}")


def _count(source: Source) -> str:
    return f"{len(source):,} rows"


def _groups(path: Path, name: str, policy: dict[str, Any]) -> tuple[Sequence[object] | None, dict[str, Any]]:
    """Of each row of a file, and the policy that leaves that column out; None for a folder, which knows its own."""
    if path.is_dir():
        if name != "folder":
            raise ValueError(f"data.groups: of pictures in a folder must be 'folder'; got {name!r}")
        return None, policy
    kind = path.suffix.lower()
    if kind == ".npz":
        with opening.arrays(path) as arrays:
            if name not in arrays.files:
                raise ValueError(f"data.groups: {path} has no array {name!r}; there are {', '.join(arrays.files)}")
            return arrays[name].tolist(), policy
    if kind in (".csv", ".tsv"):
        delimiter = policy.get("delimiter") or ("\t" if kind == ".tsv" else ",")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
        names, rows = [cell.strip() for cell in rows[0]] if rows else [], rows[1:]
    elif kind == ".parquet":
        import pyarrow.parquet as pq

        names = pq.read_schema(path).names
        rows = None
    else:
        raise ValueError(f"data.groups: {path} has no columns and no folders to group its rows by")
    if name not in names:
        raise ValueError(f"data.groups: {path} has no column {name!r}; there are {', '.join(names)}")
    if rows is None:
        groups: Sequence[object] = pq.read_table(path, columns=[name])[name].to_pylist()
    else:
        groups = [row[names.index(name)].strip() for row in rows if len(row) == len(names)]
    return groups, {"columns": [other for other in names if other != name], **policy}


def absolute(recipe: Recipe, *folders: Path) -> Recipe:
    """`recipe` with its paths made absolute: of what is there below the first of the `folders` that has it.

    What is nowhere, and what is a name, is left as it is; a name in another case is the name.
    """
    known = {name.casefold(): name for name in (*catalogue.SOURCES, *catalogue.SHAPES)}

    def found(value: str | None) -> str | None:
        if value is None or value in known.values() or os.path.isabs(value):
            return value
        there = [folder / value for folder in folders if (folder / value).exists()]
        return os.path.abspath(there[0]) if there else value

    source = found(recipe.data.source)
    source = known.get(source.casefold(), source) if source is not None else source  # "MNIST"
    data_ = recipe.data.model_copy(update={"source": source, "test": found(recipe.data.test)})
    return recipe.model_copy(update={"data": data_, **{k: found(getattr(recipe, k)) for k in ("teacher", "start")}})


def going_on(there: Recipe, given: Recipe) -> Recipe:
    """`given`, the recipe a run is to go on with, as the one that is `there` was begun.

    The command that began a run may be repeated: then a path that was made absolute is the same path, and what was held
    out, of too few rows nothing, stays so, unless another share is asked for.
    """
    kept: dict[str, Any] = {}
    for key in ("source", "test"):
        one, other = getattr(there.data, key), getattr(given.data, key)
        if one is not None and other is not None and os.path.abspath(one) == os.path.abspath(other):
            kept[key] = one
    if "layout" in there.data.policy and "layout" not in given.data.policy:  # found by `for_network`
        kept["policy"] = {**given.data.policy, "layout": there.data.policy["layout"]}
    if given.data.held_out == HELD_OUT:
        kept["held_out"] = there.data.held_out
    return given.model_copy(update={"data": given.data.model_copy(update=kept)})
