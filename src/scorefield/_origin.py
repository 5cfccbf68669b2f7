"""What made a file, for the file to say: the version, and the command where one is running."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextvars import ContextVar

_COMMAND: ContextVar[str] = ContextVar("command", default="")


def running(args: Sequence[str]) -> None:
    """From here on files are made by `scorefield *args`."""
    _COMMAND.set(shlex.join(["scorefield", *args]))


def origin() -> dict[str, str]:
    """What a picture's metadata say, by the names of PNG's text chunks."""
    from scorefield import __version__

    command = _COMMAND.get()
    return {"Software": f"scorefield {__version__}", **({"Command": command} if command else {})}
