"""One run, one folder: a lock that the kernel lets go of when its process dies, however it dies.

The file `.lock` stays when the lock is gone: what counts is whether a process holds it, and its text only says who.
A process forked while the lock is held keeps it too, until both have ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keeps `folder` for the length of the block, against other processes and other threads of this one.

    Raises:
        ValueError: if it is held already: by which process, and since when; or if it is not a folder.
        OSError: if the file system cannot be written to or has no locks.
    """
    if not folder.is_dir():
        raise ValueError(f"folder must exist to be locked; there is none at {folder}")
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise ValueError(f"{folder} is in use by {holder or 'another process'}") from None
        os.ftruncate(descriptor, 0)
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        os.pwrite(descriptor, f"process {os.getpid()} since {since}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
