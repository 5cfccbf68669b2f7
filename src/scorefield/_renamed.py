"""Public names that were renamed: the old one works until the next minor release, with a warning that names the new."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from scorefield._caller import warn


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for its old names, `{old: new}`."""

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(f"{module}.{name} is {names[name]} now", DeprecationWarning)
        return getattr(sys.modules[module], names[name])

    return __getattr__
