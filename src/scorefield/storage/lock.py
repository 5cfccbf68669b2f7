"""One run, one folder: a lock that the system lets go of when its process dies, however it dies.

The file `.lock` stays when the lock is gone: what counts is whether a process holds it, and its text only says who. The
text begins at the second byte, since on Windows nobody else can read the one that is locked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keeps `folder` for the length of the block, against other processes and other threads of this one.

    Raises:
        ValueError: if it is held already: by which process, and since when; or if it is not a folder.
        OSError: if the file system cannot be written to or has no locks.
    """
    if not folder.is_dir():
        raise ValueError(f"folder must exist to be locked; there is none at {folder}")
    path = folder / ".lock"
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{folder} is in use by {_holder(path) or 'another process'}") from None
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        _say(path, f"process {os.getpid()} since {since}\n")
        try:
            yield
        finally:
            _say(path, "")
    finally:
        lock.release()


def _say(path: Path, text: str) -> None:
    with path.open("r+b", buffering=0) as file:
        file.truncate(1)
        file.seek(1)
        file.write(text.encode())


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        file.seek(1)
        return file.read(200).decode(errors="replace").strip()
    return ""
