"""A large set of numbered results as files, written by any number of processes, none twice and none by halves.

    plan.json               what is being made: n, shard, chunk, kind, and the caller's own plain values
    shard-000007.npz|.tar   results first = 7 shard, ..., of a length `shard` but for the last
    manifest.jsonl          a line for each shard: file, first, n, sha256, chunk; of two for a file the later one counts

Shard k is made by process k mod processes, written beside its place, made durable, renamed, and then listed. A shard
that is listed and whose bytes have the listed SHA-256 is done; whatever else lies there is made again. So it does not
matter when a process is killed, or how many there are the next time. Nothing is held but one shard.

A .tar is read by webdataset: sample i is 000000007.NAME.npy for each of its arrays, and 000000007.cls for its label.
Files are a function of their content: no times, no users.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from scorefield.storage.files import Appended, refuse_link, replace, to_json

PLAN, MANIFEST = "plan.json", "manifest.jsonl"
KINDS = ("npz", "tar")
BLOCK = 1 << 20  # bytes read at a time

Arrays = Mapping[str, np.ndarray]
Make = Callable[[int, int, int], Arrays]


@dataclass(frozen=True)
class Plan:
    """What is made: `n` results in files of `shard`, `chunk` at a time, and `what` they are, plain values.

    Raises:
        ValueError: for a number below 1, a shard that is no multiple of the chunk, or another kind.
    """

    n: int
    shard: int
    chunk: int
    kind: str = "npz"
    what: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("n", "shard", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.shard % self.chunk:
            raise ValueError(f"shard must be a multiple of chunk = {self.chunk}; got {self.shard}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be {' or '.join(KINDS)}; got {self.kind!r}")

    @property
    def count(self) -> int:
        """How many shards there are."""
        return -(-self.n // self.shard)

    def name(self, k: int) -> str:
        """Of shard k's file."""
        return f"shard-{k:06d}.{self.kind}"

    def rows(self, k: int) -> tuple[int, int]:
        """(first, how many) of shard k."""
        first = k * self.shard
        return first, min(self.shard, self.n - first)


class Done(NamedTuple):
    """What a call of `write` did."""

    made: int  # shards
    kept: int  # of this process's: there already, and whole
    missing: int  # of all processes': not listed yet
    chunk: int  # the least that was needed


def write(
    folder: Path,
    plan: Plan,
    make: Make,
    *,
    rank: int = 0,
    world: int = 1,
    warn: Callable[[str], None] = print,
    progress: Callable[[], None] | None = None,
) -> Done:
    """Makes what is missing of this process's shards.

    Args:
        folder: made if it is missing.
        make: `make(first, count, chunk)` are the results first .. first + count - 1, arrays of that length by name,
            computed `chunk` at a time.
        rank, world: this process's number and how many there are.
        warn: takes a line about memory that did not suffice: half the chunk is tried then.
        progress: called after each of this process's shards.

    Raises:
        ValueError: for a folder in which something else is being made, or where memory does not suffice for one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _agree(folder, plan)
    listed, made, kept, chunk = _listed(folder), 0, 0, plan.chunk
    for k in range(rank, plan.count, world):
        path, (first, count) = folder / plan.name(k), plan.rows(k)
        line = listed.get(path.name)
        if line is not None and (line["first"], line["n"]) == (first, count) and _sha256(path) == line["sha256"]:
            kept += 1
        else:
            arrays, chunk = _made(make, first, count, chunk, warn)
            content = _npz(arrays, first) if plan.kind == "npz" else _tar(arrays, first)
            replace(path, content)
            digest = hashlib.sha256(content).hexdigest()
            _list(folder, {"file": path.name, "first": first, "n": count, "sha256": digest, "chunk": chunk})
            for left in folder.glob(f".{path.name}.*.tmp"):  # of a process that was killed
                left.unlink(missing_ok=True)
            made += 1
        if progress:
            progress()
    listed = _listed(folder)
    return Done(made, kept, sum(plan.name(k) not in listed for k in range(plan.count)), chunk)


def read(folder: Path) -> Iterator[Arrays]:
    """The shards in order, each as arrays by name, with its results' numbers as `index`, of a folder of npz.

    Raises:
        ValueError: for a folder of another kind, or a shard that is missing or damaged.
    """
    plan = planned(folder)
    if plan["kind"] != "npz":
        raise ValueError(f"{folder} holds {plan['kind']} files: webdataset reads them")
    listed, whole = _listed(folder), Plan(plan["n"], plan["shard"], plan["chunk"])
    for k in range(whole.count):
        path = folder / whole.name(k)
        if path.name not in listed or _sha256(path) != listed[path.name]["sha256"]:
            raise ValueError(f"{path} is missing or damaged: run the command that made it again")
        with np.load(path, allow_pickle=False) as file:
            yield dict(file)


def planned(folder: Path) -> dict[str, Any]:
    """What is being made in a folder, as its plan says: n, shard, chunk, kind and the maker's own values.

    Raises:
        ValueError: for a folder without a plan that can be read.
    """
    path = folder / PLAN
    if not path.is_file():
        raise ValueError(f"{folder} is no folder of shards: it has no {PLAN}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        Plan(*(found[name] for name in ("n", "shard", "chunk", "kind")))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: it says no n, shard, chunk and kind") from None
    return found


def numbers(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that hold one number a result, of all shards: `(n,)` each, and all that is held of any.

    Raises:
        ValueError: as `read`.
    """
    parts = [{name: value for name, value in shard.items() if value.ndim == 1} for shard in read(folder)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _agree(folder: Path, plan: Plan) -> None:
    """Writes the plan, or finds that it is the one that is there.

    Raises:
        ValueError: if it is another.
    """
    what = {"n": plan.n, "shard": plan.shard, "chunk": plan.chunk, "kind": plan.kind, **plan.what}
    own, path = json.loads(to_json(what, "what")), folder / PLAN
    with _locked(folder):
        if not path.is_file():
            if any(not p.name.startswith(".") for p in folder.iterdir()):
                raise ValueError(f"{folder} is not empty and has no {PLAN}: choose another folder")
            replace(path, (json.dumps(own, indent=1) + "\n").encode())
            return
    found = json.loads(path.read_text(encoding="utf-8"))
    for name in sorted(own.keys() | found.keys()):
        if own.get(name) != found.get(name):
            raise ValueError(
                f"{folder} holds others: {name} was {found.get(name)!r:.60} and now is {own.get(name)!r:.60}; choose "
                "another folder"
            )


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest by file; a line that was cut off is none."""
    found: dict[str, dict[str, Any]] = {}
    path = folder / MANIFEST
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found[entry["file"]] = {name: entry[name] for name in ("first", "n", "sha256", "chunk")}
    return found


def _list(folder: Path, entry: Mapping[str, Any]) -> None:
    """Adds a line, on one of its own even behind one that was cut off."""
    path = folder / MANIFEST
    with _locked(folder):
        whole = not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
        manifest = Appended(path)
        try:
            manifest.write(b"\n" * (not whole) + json.dumps(entry).encode() + b"\n")
            manifest.sync()
        finally:
            manifest.close()


def _locked(folder: Path) -> FileLock:
    """Held against other processes for the length of a block, which is short: they wait."""
    refuse_link(folder / ".lock")  # it would be emptied
    return FileLock(folder / ".lock")


def _made(
    make: Make, first: int, count: int, chunk: int, warn: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], int]:
    while True:
        try:
            arrays = {name: np.asarray(value) for name, value in make(first, count, chunk).items()}
        except (MemoryError, RuntimeError) as error:
            if not _of_memory(error):
                raise
            if chunk == 1:
                raise ValueError(f"memory does not suffice for a single one at a time: {error}") from error
            chunk //= 2
            warn(f"out of memory: going on with {chunk} at a time")
            continue
        for name, value in arrays.items():
            if value.dtype.kind not in "biuf" or len(value) != count:
                raise ValueError(f"{name} must be {count} numbers or arrays of them; got {value.dtype}, {value.shape}")
        return arrays, chunk


def _of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's (torch.OutOfMemoryError) or that of torch on the CPU."""
    said = str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in said


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _npz(arrays: Arrays, first: int) -> bytes:
    file, count = io.BytesIO(), len(next(iter(arrays.values())))
    np.savez_compressed(file, index=np.arange(first, first + count), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _tar(arrays: Arrays, first: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(len(next(iter(arrays.values())))):
            for name, value in arrays.items():
                end, content = (
                    ("cls", str(int(value[i])).encode()) if name == "label" else (f"{name}.npy", _npy(value[i]))
                )
                info = tarfile.TarInfo(f"{first + i:09d}.{end}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _npy(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return file.getvalue()
