"""Checkpoint folders that are whole or not there.

    checkpoints/step-000123/    the files, state.json, manifest.json (format, step, size and SHA-256 of each file)

A checkpoint is written beside its place, in `.step-000123.<pid>.tmp`: every file made durable, the manifest last, then
the folder; then it is renamed, and the parent made durable. A rename happens or does not, so whenever this is
interrupted every `step-...` folder is whole. Deleting goes the other way: renamed first, then deleted. What happens to
a folder later (a bad disk, a copy cut short) the manifest shows, and `latest` passes over it. A folder of a another
format is no damage: whoever meets one is told so, and leaves it. Files are safetensors or JSON: nothing can run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from filelock import FileLock, Timeout

FORMAT = 1
STATE, MANIFEST = "state.json", "manifest.json"
TEXT = 64 << 20  # bytes of a manifest or a state
CHUNK = 1 << 24  # bytes handed to one write()

Content = bytes | Callable[[BinaryIO], object]

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write other line ends
_FOLDERS = hasattr(os, "O_DIRECTORY")  # Windows opens no folders: none is made durable there
_FILE = re.compile(r"[\w-][\w.-]*\.(safetensors|json)")
_NAME = re.compile(r"step-(\d{6,})")
_TEMPORARY = re.compile(r"\.step-\d{6,}\.(\d+)(\.old)?\.tmp(\.lock)?")


def write(root: Path, step: int, files: Mapping[str, Content], state: Mapping[str, Any]) -> Path:
    """Writes the checkpoint of `step` under `root` and returns its folder.

    One that is there already and verifies is kept as it is; a damaged one is replaced. Temporary folders of writers
    that have died are removed.

    Args:
        root: made if it is missing.
        step: steps done, >= 0.
        files: by name, `*.safetensors` or `*.json`: the bytes, or a function that writes them to the file it is given.
        state: plain values, for `state.json`.

    Raises:
        ValueError: for a negative step, another kind of file name, a state that JSON cannot hold, or a checkpoint of
            another format in its place.
        OSError: where the disk is full or cannot be written to, naming the folder and the bytes needed. Nothing of the
            new checkpoint is left, and the others are untouched.
    """
    if step < 0:
        raise ValueError(f"step must be at least 0; got {step}")
    for name in files:
        if not _FILE.fullmatch(name) or name in (STATE, MANIFEST):
            raise ValueError(f"files must be named *.safetensors or *.json, not {STATE} or {MANIFEST}; got {name!r}")
    try:
        contents: dict[str, Content] = {**files, STATE: json.dumps(dict(state), indent=1).encode()}
    except TypeError as error:
        raise ValueError(f"state must be plain values that JSON can hold: {error}") from None
    target = root / _name(step)
    if os.path.lexists(target) and not _damage(target):
        _sweep(root)
        return target
    need = _size(root, contents)
    try:
        _make(root)
        _sweep(root)
        if need > (free := shutil.disk_usage(root).free):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {free:,} bytes are free")
        with _being_written(root / f".{target.name}.{os.getpid()}.tmp") as folder:
            entries = {name: _write(folder / name, content) for name, content in contents.items()}
            manifest = {"format": FORMAT, "step": step, "files": entries}
            _write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
            _sync(folder)
            if os.path.lexists(target):  # damaged; a folder cannot be renamed over another
                _discard(target)
            _boundary("rename")
            folder.rename(target)
            _sync(root)
    except OSError as error:
        reason = f"a checkpoint of {need:,} bytes cannot be saved: {error.strerror or error}"
        raise OSError(error.errno or errno.EIO, reason, str(target)) from error
    _boundary("done")
    return target


def verify(folder: Path) -> None:
    """Reads every file of the checkpoint in `folder`. A file that the manifest does not list is no damage.

    Raises:
        ValueError: if it is not what was written, naming the first file that differs and how; or of another format.
    """
    if damage := _damage(folder):
        raise ValueError(f"{folder} is damaged ({damage})")


def latest(root: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint under `root` that verifies; a line through `warn` for each newer one that does not.

    Raises:
        ValueError: for a newer one of another format, which is not to be started over.
    """
    damaged, found = [], None
    for _, folder in sorted(steps(root).items(), reverse=True):
        if not (damage := _damage(folder)):
            found = folder
            break
        damaged.append(f"{folder} is damaged ({damage})")
    for line in damaged:
        warn(f"{line}. Using {found.name}." if found else f"{line}. No older one is whole.")
    return found


def prune(root: Path, keep: int, keep_every: int | None = None) -> None:
    """Deletes all but the newest `keep` checkpoints, every `keep_every`-th step, and the newest that verifies.

    Where none verifies nothing is deleted: a damaged checkpoint may be all there is to recover a run from. Those of
    another format stay.

    Raises:
        ValueError: for a keep or keep_every below 1.
    """
    if keep < 1 or (keep_every is not None and keep_every < 1):
        raise ValueError(f"keep and keep_every must be at least 1; got {keep} and {keep_every}")
    folders = steps(root)
    newest_first = sorted(folders, reverse=True)
    old = [step for step in newest_first[keep:] if keep_every is None or step % keep_every]
    if not old:
        return
    _sweep(root)
    foreign = {step for step, folder in folders.items() if _format(folder) not in (None, FORMAT)}
    whole = next((step for step in newest_first if step not in foreign and not _damage(folders[step])), None)
    if whole is not None:
        for step in old:
            if step != whole and step not in foreign:
                _discard(folders[step])


def read_state(folder: Path) -> dict[str, Any]:
    """The plain values of the checkpoint in `folder`.

    Raises:
        ValueError: for a file that is missing, or not a JSON object.
    """
    try:
        return dict(_json(folder / STATE))
    except FileNotFoundError:
        raise ValueError(f"{folder} is damaged ({STATE}: missing)") from None
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{folder} is damaged ({STATE}: not a JSON object)") from None


def steps(root: Path) -> dict[int, Path]:
    """All that are called as checkpoints are, whole or not, and no links."""
    try:
        matches = [(_NAME.fullmatch(entry.name), entry) for entry in os.scandir(root) if not entry.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        int(match[1]): root / entry.name for match, entry in matches if match and entry.name == _name(int(match[1]))
    }


def _name(step: int) -> str:
    return f"step-{step:06d}"


# Reading.


def _json(path: Path) -> Any:
    """What a text of bounded size says; a pipe would be waited for, and of a longer one the end is missing."""
    if not path.is_file() and not path.is_dir():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return json.loads(file.read(TEXT))


def _format(folder: Path) -> Any:
    """What the manifest says it is; None where it says nothing."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return _json(folder / MANIFEST)["format"]
    return None


def _damage(folder: Path) -> str:
    """What is wrong with a checkpoint; empty if nothing is.

    Raises:
        ValueError: for one of another format: what it holds is not for this version to judge.
    """
    kind = _format(folder)
    if isinstance(kind, int) and kind != FORMAT:
        raise ValueError(
            f"{folder} has checkpoint format {kind}; this version reads {FORMAT}: go on with the version that wrote it"
        )
    try:
        manifest = _json(folder / MANIFEST)
        step = _name(manifest["step"])
        files = {name: (int(entry["size"]), entry["sha256"]) for name, entry in manifest["files"].items()}
    except OSError as error:
        return f"{MANIFEST}: {error.strerror or 'missing'}"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return f"{MANIFEST}: not a manifest"
    if kind != FORMAT:
        return f"{MANIFEST}: format {kind}; this version reads {FORMAT}"
    if step != folder.name:
        return f"{MANIFEST}: of {step}"
    if STATE not in files:
        return f"{STATE}: not in the manifest"
    if strange := [name for name in files if not _FILE.fullmatch(name)]:  # a path out of the folder, say
        return f"{MANIFEST}: lists {strange[0]!r}"
    problems = (_difference(folder / name, *expected) for name, expected in files.items())
    return next((problem for problem in problems if problem), "")


def _difference(path: Path, size: int, checksum: str) -> str:
    if not path.is_file():  # a pipe, say, would be waited for
        return f"{path.name}: missing"
    try:
        with path.open("rb") as file:
            if (actual := os.fstat(file.fileno()).st_size) != size:
                return f"{path.name}: {actual:,} bytes instead of {size:,}"
            same = hashlib.file_digest(file, "sha256").hexdigest() == checksum
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    return "" if same else f"{path.name}: checksum differs"


# Writing.


def _size(root: Path, contents: Mapping[str, Content]) -> int:
    """Bytes needed; a file not yet made counts as much as the newest checkpoint's of that name."""
    before: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        found = _json(max(steps(root).items())[1] / MANIFEST)["files"]
        before = {name: int(entry["size"]) for name, entry in found.items()}
    return sum(len(c) if isinstance(c, bytes) else before.get(name, 0) for name, c in contents.items())


def _write(path: Path, content: Content) -> dict[str, Any]:
    """Makes `content` the file `path`, durably; returns its entry in the manifest."""
    _boundary(f"open {path.name}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        sink = _Sink(descriptor, path.name)
        if isinstance(content, bytes):
            sink.write(content)
        else:
            content(cast(BinaryIO, sink))
        _boundary(f"sync {path.name}")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"size": sink.size, "sha256": sink.hash.hexdigest()}


class _Sink(io.RawIOBase):
    """A file to write to, forwards only, that keeps the checksum of what it was given."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor, self.label, self.size, self.hash = descriptor, name, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            _boundary(f"write {self.label}")
            count = os.write(self.descriptor, view[done : done + CHUNK])  # may take less than it was given
            self.hash.update(view[done : done + count])
            done += count
        self.size += done
        return done


@contextlib.contextmanager
def _being_written(folder: Path) -> Iterator[Path]:
    """A new folder, locked against `_sweep` before it is there; it is gone again if the block fails before renaming it.

    The lock is a file beside it: on Windows no folder can be renamed that has an open file in it.
    """
    lock = FileLock(_lock_of(folder))
    try:
        _boundary("lock")
        with contextlib.suppress(OSError, NotImplementedError):  # no locks here: then the process id has to do
            lock.acquire(timeout=1)  # a sweep may have it for a moment
        _boundary("mkdir")
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        lock.release()
        _remove(_lock_of(folder))


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _sweep(root: Path) -> None:
    """Removes what writers that have died left behind."""
    for path in sorted(root.glob(".step-*.tmp*")):  # a folder before its lock
        match = _TEMPORARY.fullmatch(path.name)
        if match and _abandoned(path if match[3] else _lock_of(path), int(match[1])):
            _boundary("sweep")
            _remove(path)


def _abandoned(lock: Path, pid: int) -> bool:
    """Nobody holds `lock`, and its process is gone or is this one: in a container ids come again after a restart.

    The lock alone would leave the moment between making its file and locking it; the id alone says nothing of a process
    on another machine.
    """
    free = False
    if lock.is_file():
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
            free = True
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            pass
        finally:
            held.release()
    if pid == os.getpid():
        return True
    if os.name == "nt":  # os.kill asks nothing there, it kills
        return free
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is someone else's
        return False
    return False


def _discard(folder: Path) -> None:
    """Deletes a checkpoint; renamed first, and that made durable, since half deleted it must not look like one."""
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.old.tmp")
    _boundary("set aside")
    folder.rename(doomed)
    _sync(folder.parent)
    _boundary("delete")
    _remove(doomed)


def _remove(path: Path) -> None:
    """Deletes a file or a folder; what cannot be deleted stays for a later sweep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _make(folder: Path) -> None:
    """`folder` and its parents, each made durable in its own parent."""
    if not folder.is_dir():
        _make(folder.parent)
        _boundary("make root")
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    _boundary("sync folder")
    if _FOLDERS:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _boundary(name: str) -> None:
    """Between two system calls of a save or a prune: where tests stop the process or fill the disk."""
