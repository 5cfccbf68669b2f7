"""Recipes in and out of TOML, and single keys set from the command line."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scorefield.catalogue import nearest
from scorefield.recipes.reading import absolute
from scorefield.recipes.schema import Part, Recipe
from scorefield.storage import files
from scorefield.training import record

MOST = 1 << 20  # bytes of a recipe


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file. Relative paths in it are those of its folder or, not there, of the working directory.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: in one line: the key, what was expected, what came.
    """
    path = Path(path)
    return absolute(loads(_text(path), str(path), overrides), path.resolve().parent, Path())


def begun(path: str | os.PathLike[str]) -> Recipe:
    """The recipe that a run keeps. One written before data were held out says nothing of it: then none were.

    Raises:
        FileNotFoundError, ValueError: as `load`.
    """
    recipe, values = load(path), tomllib.loads(_text(Path(path)))
    if "held_out" in values["data"]:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"held_out": 0.0})})


def _text(path: Path) -> str:
    if not path.exists():
        raise FileNotFoundError(f"no recipe at {path}")
    try:
        return files.read(path, MOST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not TOML: it is no UTF-8 ({error.reason} at byte {error.start})") from None


def loads(text: str, name: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a text; `name` stands in messages.

    Raises:
        ValueError: for a text that is not TOML; in one line: the key, what was expected, what came.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{name}: nested too deep to be a recipe") from None
    return _with(values, overrides, name)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """`recipe` with keys set: `training.steps=100`, `network.type=MLP`. Values are TOML; anything else is a string."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    return _with(values, overrides, "--set")


def dumps(recipe: Recipe) -> str:
    """The recipe as TOML, every default written out."""
    return "\n".join(_table(recipe.model_dump(mode="json", exclude_none=True), ())).strip() + "\n"


def difference(one: Recipe, other: Recipe) -> tuple[str, str, str] | None:
    """The first key whose value differs between two recipes, and both values; None if there is none.

    What a run may change when it goes on is no difference: its length, its machine, its logging (`record.FREE`), how
    its series are drawn.
    """
    first, second = (_flat(recipe.model_dump(mode="json", exclude_none=True)) for recipe in (one, other))
    keys = [key for key in {**first, **second} if not key.startswith("logging.") and key not in _FREE]
    shown = ({key: _value(flat[key]) if key in flat else "not set" for key in keys} for flat in (first, second))
    return record.difference(*shown)


_FREE = {*(f"training.{name}" for name in record.FREE), "data.axis", "data.step", "data.unit"}


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def _with(values: dict[str, Any], overrides: Sequence[str], name: str) -> Recipe:
    # classes first: another class forgets the old one's arguments, not those that are set beside it
    for item in sorted(overrides, key=lambda item: not item.partition("=")[0].endswith(".type")):
        _set(values, item)
    return _validated(values, f"{name} with --set" if overrides and name != "--set" else name)


def _set(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not all(key.split(".")):
        raise ValueError(f"--set takes key=value, e.g. training.steps=100; got {item!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    here = values
    for table in tables:
        here = here.setdefault(table, {})
        if not isinstance(here, dict):
            raise ValueError(f"--set: {table!r} in {key!r} is a value, not a table")
    if last == "type" and isinstance(here.get("type", 0), str) and here["type"] != value:
        here.clear()  # another class: the old one's arguments are not its
    here[last] = value


def _validated(values: dict[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            prefix = key.rpartition(".")[0]
            known = [f"{prefix}.{k}" if prefix else k for k in _fields(Recipe, first["loc"][:-1])]
            raise ValueError(f"unknown key {key!r} in {name}. {nearest(key, known)}") from None
        got = "" if first["type"] == "missing" else f"; got {first['input']!r}"
        raise ValueError(f"{key} in {name}: {first['msg'].lower()}{got}") from None


def _fields(model: type[BaseModel], loc: Sequence[Any]) -> list[str]:
    for name in loc:
        annotation = model.model_fields[name].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else Part
    return list(model.model_fields)


def _table(values: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in values.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in values.items() if isinstance(v, dict)}
    lines = [f"\n[{'.'.join(map(_key, path))}]"] if path and (plain or not tables) else []
    lines += [f"{_key(k)} = {_value(v)}" for k, v in plain.items()]
    for k, v in tables.items():
        lines += _table(v, (*path, k))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):  # within a list
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):  # a JSON string is a TOML string, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)
