"""The one writer of single files: whole or as they were, never through a link; and plain values as JSON.

    replace(path, content)      written beside `path`, made durable, renamed over it, and that made durable
    Appended(path)              a log, to its end
    subfolder(path)             a folder within one of ours
    read(path)                  a file of bounded size, and no pipe
    aside(path)                 another name for what cannot be used and is not to be lost

A folder may come from a stranger, with links in it to what is not in it. So nothing here follows a link at the place
that it writes to: the file's own, or that of the folder made to hold it. The links on the way to a run folder are its
user's. Checkpoints are folders that are whole (`checkpoints`), each file of them made here or by the same steps.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import json
import math
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

TEXT = 16 << 20  # bytes of a text that is read: recipes, descriptions, samplers
CHUNK = 1 << 24  # bytes handed to one write()

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write other line ends
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # Windows has none: `_refuse` has looked before
_FOLDERS = hasattr(os, "O_DIRECTORY")  # Windows opens no folders: none is made durable there
_LINKS = {getattr(stat, f"IO_REPARSE_TAG_{kind}", None) for kind in ("SYMLINK", "MOUNT_POINT")} - {None}


def replace(path: Path, content: bytes) -> None:
    """Makes `content` the file `path` in one step: the old file is there until the new one is durable.

    Raises:
        OSError: naming `path`, if it is a link or no file, or the disk is full or cannot be written to. The old file is
            as it was then, and nothing of the new one is left.
    """
    path = Path(path)
    try:
        _refuse(path, stat.S_ISREG, "a file")
        _sweep(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _NO_LINKS, 0o666)
            try:
                _write(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync(path.parent)
    except OSError as error:
        raise _named(error, path) from error


class Appended:
    """The file `path`, made if it is missing, to add to: what is written is at its end as soon as `write` returns.

    Raises:
        OSError: naming `path`, if it is a link or no file, or cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _refuse(path, stat.S_ISREG, "a file")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY | _NO_LINKS
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise _named(error, path) from error

    def write(self, content: bytes) -> None:
        """All of it, or as much as there is room for.

        Raises:
            OSError: naming the file.
        """
        try:
            _write(self._descriptor, content)
        except OSError as error:
            raise _named(error, self.path) from error

    def sync(self) -> None:
        """Makes it durable."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._descriptor)


def subfolder(path: Path) -> Path:
    """The folder `path`, made if it is missing; its parent must be there.

    Raises:
        OSError: naming `path`, if it is a link, or no folder, or cannot be made.
    """
    try:
        _refuse(path, stat.S_ISDIR, "a folder")
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            sync(path.parent)
    except OSError as error:
        raise _named(error, path) from error
    return path


def read(path: Path, most: int = TEXT) -> bytes:
    """The content of a file that others may have written: of a pipe, a device or a larger file nothing is read.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for what is no file, or has more than `most` bytes.
        OSError: if it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, a device may have no end
        raise ValueError(f"{path}: expected a file")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path}: expected at most {most:,} bytes; got {os.stat(path).st_size:,}")
    return content


def aside(path: Path) -> Path:
    """Renames `path` to the first of `path`.1, `path`.2, ... that is free, and returns that."""
    number = 1
    while os.path.lexists(path.with_name(f"{path.name}.{number}")):
        number += 1
    place = path.with_name(f"{path.name}.{number}")
    os.rename(path, place)
    sync(path.parent)
    return place


def sync(folder: Path) -> None:
    """Makes the names in `folder` durable, where the system can."""
    if not _FOLDERS:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_link(path: Path) -> None:
    """Refuses a `path` that is a link, wherever it leads.

    Raises:
        OSError: naming it.
    """
    with contextlib.suppress(FileNotFoundError):
        if is_link(os.lstat(path)):
            raise OSError(errno.ELOOP, "is a link, and nothing is written through one: remove it", str(path))


def is_link(status: os.stat_result) -> bool:
    """Whether that of `os.lstat` is a link's, or on Windows a junction's."""
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) in _LINKS


def _refuse(path: Path, kind: Any, what: str) -> None:
    refuse_link(path)
    with contextlib.suppress(FileNotFoundError):
        if not kind(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, f"is there, and is not {what}", str(path))


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while len(view):
        view = view[os.write(descriptor, view[:CHUNK]) :]  # may take less than it was given


def _sweep(path: Path) -> None:
    """Removes what writers of `path` that have died left beside it."""
    for left in glob.glob(f".{glob.escape(path.name)}.*.tmp", root_dir=path.parent, include_hidden=True):
        match = re.search(r"\.(\d+)-(\d+)\.tmp$", left)
        if match and _dead(int(match[1]), int(match[2])):
            with contextlib.suppress(OSError):
                os.unlink(path.with_name(left))


def _dead(pid: int, thread: int) -> bool:
    if pid == os.getpid():
        return thread == threading.get_ident()  # of another process of that number, before this one
    if os.name == "nt":  # os.kill asks nothing there, it kills; and what is open cannot be deleted
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is someone else's
        return False
    return False


def _named(error: OSError, path: Path) -> OSError:
    if error.filename == str(path):  # ours
        return error
    return OSError(error.errno or errno.EIO, f"cannot be written: {error.strerror or error}", str(path))


def npz(**arrays: Any) -> bytes:
    """The content of an .npz of arrays of numbers; nothing in it is a pickle."""
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    assert all(array.dtype.kind in "biuf" for array in plain.values())
    content = io.BytesIO()
    np.savez_compressed(content, **plain)  # type: ignore[arg-type]
    return content.getvalue()


def to_json(value: Any, what: str) -> str:
    """`value` as JSON; numbers may be those of NumPy and torch.

    Raises:
        ValueError: for what is no plain value; `what` is what the message calls it.
    """
    try:
        return json.dumps(value, default=_number)
    except TypeError as error:
        raise ValueError(f"{what} must be plain values that JSON can hold: {error}") from None


def _number(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and not value.ndim):
        return value.item()
    raise TypeError(f"got {value!r}")


def plain(value: Any) -> Any:
    """`value` for JSON, which has no NaN and no infinity: what is not finite is None."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
