"""One run, one folder: a lock that the system lets go of when its process dies, however it dies.

The file `.lock` stays when the lock is gone: what counts is whether a process holds it. `.holder` says who, and has
only then a meaning.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from scorefield.storage.files import read, refuse_link, replace


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keeps `folder` for the length of the block, against other processes and other threads of this one.

    Raises:
        ValueError: if it is held already: by which process, and since when; or if it is not a folder.
        OSError: if the file system cannot be written to or has no locks, or a file of the lock is a link.
    """
    if not folder.is_dir():
        raise ValueError(f"folder must exist to be locked; there is none at {folder}")
    place, holder = folder / ".lock", folder / ".holder"
    refuse_link(place)  # it would be emptied
    lock = FileLock(place, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = read(holder).decode(errors="replace").strip() if holder.is_file() else ""
        raise ValueError(f"{folder} is in use by {who or 'another process'}") from None
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        replace(holder, f"process {os.getpid()} since {since}\n".encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
