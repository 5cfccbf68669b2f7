"""A recipe's words to objects: names from the catalogue, arguments checked by the key they stand under."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from scorefield.catalogue import Entry, find, nearest
from scorefield.recipes.schema import Part


def choose(where: str, name: str, table: Mapping[str, Entry]) -> Callable[..., Any]:
    """The entry of that name.

    Raises:
        ValueError: naming the key, what came and the nearest known name.
    """
    if name not in table:
        raise ValueError(f"{where}: unknown {name!r}. {nearest(name, table)}")
    return find(table[name])


def made(where: str, part: Part, table: Mapping[str, Entry], **derived: Any) -> Any:
    """`part` built: its own arguments, and of the `derived` ones those that it takes and does not give itself.

    Raises:
        ValueError: for an unknown name, an argument it does not take, or a value of another type, by its key.
    """
    entry = choose(f"{where}.type", part.type, table)
    known = inspect.signature(entry).parameters
    variadic = any(p.kind is p.VAR_KEYWORD for p in known.values())
    taken = _of_class(entry) if variadic else known
    arguments = {name: value for name, value in derived.items() if name in taken}
    arguments |= _checked_arguments(where, part, taken, _hints(entry))
    missing = [
        n for n, p in known.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and n not in arguments
    ]
    if missing:
        raise ValueError(f"{where}: {part.type} needs {missing[0]!r}")
    return entry(**arguments)


def function(where: str, part: Part, table: Mapping[str, Entry], **derived: Any) -> Callable[..., Any]:
    """`part` as a function: a class is built, as by `made`; what is a function already takes no arguments.

    Raises:
        ValueError: as `made`.
    """
    entry = choose(f"{where}.type", part.type, table)
    if inspect.isclass(entry):
        return made(where, part, table, **derived)
    _checked_arguments(where, part, {}, {})
    return entry


def _checked_arguments(where: str, part: Part, taken: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {}
    for name, value in part.arguments.items():
        if name not in taken:
            raise ValueError(f"unknown key '{where}.{name}': {part.type} has no such argument. {nearest(name, taken)}")
        arguments[name] = _checked(f"{where}.{name}", value, hints.get(name, Any))
    return arguments


def _of_class(entry: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of the class whose method passes on what it does not know itself: `UNet.adm(**options)`."""
    return inspect.signature(getattr(entry, "__self__", entry)).parameters


def _hints(entry: Callable[..., Any]) -> dict[str, Any]:
    entry = entry.func if isinstance(entry, functools.partial) else entry
    try:
        return typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)
    except (NameError, AttributeError):  # hints that name things imported for type checking only
        return {}


def _checked(where: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {error.errors()[0]['msg'].lower()}; got {value!r}") from None
