"""Faults at the system calls of a writer, one at a time: what it leaves behind is looked at afterwards.

The calls that write are those of `os`, by their names in `CALLS`; a plan says what becomes of the n-th. A process that
is killed makes no further call, so from the fault on every one of them fails, those of its clearing up too.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "close")
ERRORS = {"full disk": errno.ENOSPC, "EIO": errno.EIO, "permission": errno.EACCES}
KINDS = (*ERRORS, "short write", "kill")


class Killed(BaseException):
    """In the place of SIGKILL: nothing may catch it and go on."""


class Calls:
    """Counts the calls that concern `folder`, and spoils the n-th (from 0); None spoils none."""

    def __init__(self, folder: Path, kind: str = "", at: int | None = None) -> None:
        self.folder, self.kind, self.at, self.made, self.names = str(folder), kind, at, 0, []
        self.struck = self.dead = False  # whether the fault has happened; whether the process has ended
        self._ours: set[int] = set()
        self._plain = {name: getattr(os, name) for name in CALLS}

    @contextlib.contextmanager
    def spoiled(self) -> Iterator["Calls"]:
        for name in CALLS:
            setattr(os, name, self._wrapped(name))
        try:
            yield self
        finally:
            for name, plain in self._plain.items():
                setattr(os, name, plain)
            for descriptor in self._ours:  # a dead process holds none
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _wrapped(self, name: str) -> Callable:
        plain = self._plain[name]

        def call(*args, **kwargs):
            if not self._concerns(args[0] if args else None):
                return plain(*args, **kwargs)
            if self.dead:
                raise Killed
            number, self.made = self.made, self.made + 1
            self.names.append(name)
            if number == self.at:
                if self.kind == "kill":
                    self.struck = self.dead = True
                    raise Killed
                if self.kind == "short write" and name == "write" and len(args[1]) > 1:
                    self.struck = True
                    args = (args[0], bytes(args[1])[: max(1, len(args[1]) // 3)], *args[2:])
                elif self.kind in ERRORS and name != "close":
                    self.struck = True
                    raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]))
            result = plain(*args, **kwargs)
            if name == "open":
                self._ours.add(result)
            elif name == "close":
                self._ours.discard(args[0])
            return result

        return call

    def _concerns(self, what) -> bool:
        if isinstance(what, int):
            return what in self._ours
        return what is not None and os.fsdecode(what).startswith(self.folder)
