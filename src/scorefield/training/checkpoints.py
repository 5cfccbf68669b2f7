"""Checkpoint folders that are whole or not there.

    checkpoints/step-000123/   the files, state.json, manifest.json (size and SHA-256 of each)

A checkpoint is written under a temporary name beside its own, every file made durable, the manifest last; then the
folder is renamed, and the parent made durable. Whenever this is interrupted, every `step-...` folder is whole. What
happens to it later (a bad disk, a cut copy) the manifest shows, and `latest` passes over it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
STATE, MANIFEST = "state.json", "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")
_TEMPORARY = re.compile(r"\.step-\d{6,}\.(\d+)\.tmp")


def write(root: Path, step: int, files: Mapping[str, bytes], state: Mapping[str, Any]) -> Path:
    """Writes the checkpoint of `step` under `root` and returns its folder; one that is already there whole is kept.

    Raises:
        OSError: a full disk, say, with the path; what was there before is untouched.
    """
    target = root / f"step-{step:06d}"
    if target.exists():
        if not _damage(target):
            return target
        shutil.rmtree(target)
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    temporary = root / f".{target.name}.{os.getpid()}.tmp"
    contents = {**files, STATE: json.dumps(dict(state)).encode()}
    manifest = {
        "format": FORMAT,
        "step": step,
        "files": {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in contents.items()},
    }
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    try:
        _boundary("begin")
        temporary.mkdir()
        for name, content in contents.items():
            _boundary(f"before {name}")
            _write_durably(temporary / name, content)
        _sync_folder(temporary)
        _boundary("before the rename")
        temporary.rename(target)
        _boundary("after the rename")
        _sync_folder(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        size = sum(len(c) for c in contents.values())
        raise OSError(error.errno, f"cannot save {size / 1e6:.1f} MB: {error.strerror}", str(target)) from error
    _boundary("end")
    return target


def verify(folder: Path) -> None:
    """Raises ValueError, naming the file, if the checkpoint in `folder` is not what was written."""
    if damage := _damage(folder):
        raise ValueError(f"{folder} is damaged ({damage})")


def latest(root: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that verifies; a line through `warn` for each newer one that does not."""
    folders = sorted(_steps(root).items(), reverse=True)
    damaged = []
    for _, folder in folders:
        damage = _damage(folder)
        if not damage:
            for line in damaged:
                warn(f"{line}. Using {folder.name}.")
            return folder
        damaged.append(f"{folder} is damaged ({damage})")
    for line in damaged:
        warn(f"{line}. There is no other.")
    return None


def prune(root: Path, newest: int, keep: int, keep_every: int | None = None) -> None:
    """Deletes all but the last `keep` checkpoints up to step `newest` and those of every `keep_every`-th step.

    `newest` is the one just written. Any of a later step are damaged: they were passed over, or it would not have been.
    """
    steps = _steps(root)
    upto = sorted(step for step in steps if step <= newest)
    kept = {*upto[-keep:], *(step for step in upto if keep_every and step % keep_every == 0)}
    for step in steps.keys() - kept:
        doomed = root / f".{steps[step].name}.{os.getpid()}.tmp"
        steps[step].rename(doomed)  # half deleted, it must not look like a checkpoint
        shutil.rmtree(doomed)


def read_state(folder: Path) -> dict[str, Any]:
    """The plain values of a checkpoint."""
    return json.loads((folder / STATE).read_text(encoding="utf-8"))


def _steps(root: Path) -> dict[int, Path]:
    found = ((_NAME.fullmatch(path.name), path) for path in root.glob("step-*"))
    return {int(match[1]): path for match, path in found if match}


def _damage(folder: Path) -> str:
    """What is wrong with a checkpoint; empty if nothing is. Whatever stands in the manifest, this is the answer."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        step, version = manifest["step"], manifest["format"]
        files = {name: (kept["size"], kept["sha256"]) for name, kept in manifest["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST}: missing or unreadable"
    if STATE not in files or any(Path(name).name != name or "\0" in name for name in files):
        return f"{MANIFEST}: missing or unreadable"
    if folder.name != f"step-{step!s:0>6}":
        return f"{MANIFEST}: of step {step}"
    if version != FORMAT:
        return f"{MANIFEST}: format {version}; this version reads {FORMAT}"
    for name, (size, digest) in files.items():
        try:
            with open(folder / name, "rb") as file:
                present = os.fstat(file.fileno()).st_size
                same = present == size and hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            return f"{name}: missing"
        if present != size:
            return f"{name}: {present} bytes, not {size}"
        if not same:
            return f"{name}: checksum differs"
    return ""


def _sweep(root: Path) -> None:
    """Removes what writers that have died left behind."""
    for path in root.glob(".step-*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # this process writes one checkpoint at a time: it is of an earlier failure
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write_durably(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
        _boundary(f"within {path.name}")
        file.write(content[len(content) // 2 :])
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _boundary(name: str) -> None:
    """Between two steps of a save; tests stop the process here."""
