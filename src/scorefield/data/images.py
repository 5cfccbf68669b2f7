"""Folders of pictures, of any sizes and kinds, as one source of (C, H, W) bytes.

The files are those whose names end as pictures do, at any depth, in the order of their paths; others and hidden ones
are not looked at. `_decode` says what happens to each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield._caller import warn
from scorefield.data._decode import SUFFIXES, Fit, Header, Policy, decode, header
from scorefield.data.sources import Batch, check_rows, take
from scorefield.data.splitting import key_of_file

MEMORY = 4 << 30  # bytes
MAX_PIXELS = 64_000_000
_ENDS = 64 << 10  # bytes of a file, at either end, that it is known by
WAY_OUT = "Leave such files out with --on-error skip (on_error = 'skip')"
_NAMED = 5  # skipped files that a warning names

K = TypeVar("K")
T = TypeVar("T")


class ImageFolder:
    """Every picture below a folder, at one size, 8 bits a channel.

    The bytes are held in memory where they fit, else decoded by threads when asked for: the same bytes either way.

    Args:
        path: the folder.
        size: height and width, or one number for both. Without it, the size that all the pictures share.
        fit: how a picture of another size gets there. "crop": scaled until the shorter side fits, and the centre kept.
            "resize": both sides scaled, not in proportion. "pad": scaled until the longer side fits, black around it.
        channels: 1 or 3; without it, 1 if every picture is grey, else 3.
        labels: whether the subfolders that hold the pictures are classes, numbered in the order of their names. They
            are taken for classes only if no picture lies directly in `path`.
        on_error: what to do about a file that is not a whole, readable picture: "raise", or "skip" and say so once.
            "skip" decodes every picture at the start, to know which.
        memory: how many bytes may be held.
        max_pixels: a picture of more is refused by its header, before it is decoded.
        workers: decoding threads; by default as many as processors, at most 8.

    Attributes:
        files: the paths, in order.
        cond: {"label": (N,) int64} where there are classes.
        skipped: one line for each file left out, with the reason.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no pictures, or one that cannot be used, named; a truncated one may be found only when
            `batch` decodes it.
    """

    levels = 256

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | tuple[int, int] | None = None,
        *,
        fit: Fit = "crop",
        channels: Literal[1, 3] | None = None,
        labels: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        memory: int = MEMORY,
        max_pixels: int = MAX_PIXELS,
        workers: int | None = None,
    ) -> None:
        _check("fit", fit, get_args(Fit))
        _check("channels", channels, (1, 3, None))
        _check("on_error", on_error, ("raise", "skip"))
        self.path, self.workers = Path(path), workers or min(8, os.cpu_count() or 1)
        faults: list[str] | None = [] if on_error == "skip" else None
        found = _pictures(self.path)
        headers = _each(lambda p: header(p, max_pixels), found, 1, faults)
        found = list(headers)
        self._policy = Policy(
            channels or (1 if all(h.grey for h in headers.values()) else 3),
            target_size(size, headers),
            fit,
            max_pixels,
        )
        self.event_shape = (self._policy.channels, *self._policy.size)
        self._pixels: Tensor | None = None
        if len(found) * int(np.prod(self.event_shape)) <= memory:
            self._pixels, found = self._held(found, faults)
        elif faults is not None:
            found = list(_each(lambda p: decode(p, self._policy).size, found, self.workers, faults))
        self.skipped = tuple(faults or ())
        if not found:
            raise ValueError(f"{self.path}: none of the {len(self.skipped)} pictures is usable: {self.skipped[0]}")
        self.files = tuple(found)
        self.class_names, label = classes_of(self.path, found) if labels else ((), None)
        self.cond = {} if label is None else {"label": label}
        self.num_classes = len(self.class_names) or None
        if self.skipped:
            more = f"; and {len(self.skipped) - _NAMED} more" if len(self.skipped) > _NAMED else ""
            warn(
                f"skipped {len(self.skipped)} of {len(self.skipped) + len(found)} pictures: "
                f"{'; '.join(self.skipped[:_NAMED])}{more}",
            )

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, rows: Tensor) -> Batch:
        check_rows(rows, len(self))
        cond = {name: take(value, rows) for name, value in self.cond.items()}
        if self._pixels is not None:
            return Batch(take(self._pixels, rows), cond)
        return Batch(self._held([self.files[i] for i in rows.tolist()], None)[0], cond)

    def row_keys(self, rows: Tensor) -> NDArray[np.uint64]:
        """`(n,)` a hash of each file's content: its size, its first and its last 64 KB, so that large ones cost little.

        Renamed or moved a picture keeps it; read at another size too.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            return np.frombuffer(b"".join(pool.map(_key, (self.files[i] for i in rows.tolist()))), dtype="<u8").astype(
                np.uint64
            )

    def groups(self) -> list[str]:
        """Of each picture the folder it lies in, from `path` or from its class's folder on.

        Raises:
            ValueError: if the folders are the classes themselves.
        """
        parents = [file.relative_to(self.path).parent.parts[1 if self.class_names else 0 :] for file in self.files]
        if self.class_names and not all(parents):
            raise ValueError(
                f"{self.path}: its subfolders are classes, and held out by folder whole classes would be: put the "
                "pictures that belong together in a folder within their class's, or say that folders are no classes, "
                "policy.labels = false"
            )
        return ["/".join(parts) for parts in parents]

    def __repr__(self) -> str:
        where = "on demand" if self._pixels is None else "in memory"
        return f"ImageFolder({str(self.path)!r}, {len(self)} x {self.event_shape}, {where})"

    def _held(self, files: list[Path], faults: list[str] | None) -> tuple[Tensor, list[Path]]:
        """The pictures as one tensor, filled in place by threads, and the files that it holds."""
        x = np.empty((len(files), *self.event_shape), np.uint8)

        def fill(i: int) -> int:
            x[i] = decode(files[i], self._policy)
            return i

        kept = list(_each(fill, range(len(files)), self.workers, faults))
        return torch.from_numpy(x if len(kept) == len(files) else x[kept]), [files[i] for i in kept]


def _key(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(max(len(head), size - _ENDS))
        return key_of_file((size.to_bytes(8, "little"), head, file.read(_ENDS)))


def _check(name: str, value: Any, known: Iterable[Any]) -> None:
    if value not in (known := tuple(known)):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")


def holds_pictures(folder: Path) -> bool:
    """Whether a file below the folder is called as pictures are."""
    return any(
        name.lower().endswith(SUFFIXES) and not name.startswith(".")
        for _, _, names in os.walk(folder)
        for name in names
    )


def _pictures(folder: Path) -> list[Path]:
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of pictures; got a file")
    found = [
        Path(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and name.lower().endswith(SUFFIXES)
    ]
    if not found:
        raise ValueError(f"{folder}: expected pictures ({', '.join(SUFFIXES)}); got none")
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def _each(action: Callable[[K], T], keys: Sequence[K], workers: int, faults: list[str] | None) -> dict[K, T]:
    """`action` on each key, in order; with `faults`, a ValueError is noted there and its key left out."""

    def attempt(key: K) -> T | ValueError:
        try:
            return action(key)
        except ValueError as error:
            return error

    done: dict[K, T] = {}
    with ThreadPoolExecutor(workers) as pool:
        for key, result in zip(keys, pool.map(attempt, keys), strict=True):
            if not isinstance(result, ValueError):
                done[key] = result
            elif faults is None:
                pool.shutdown(wait=False, cancel_futures=True)
                raise ValueError(f"{result}. {WAY_OUT}") from None
            else:
                faults.append(str(result))
    return done


def target_size(size: int | tuple[int, int] | None, headers: dict[Path, Header]) -> tuple[int, int]:
    """(height, width) of all the pictures: as asked for, or else the one that they share.

    Raises:
        ValueError: for a size below 1, or none given where the pictures are of several.
    """
    if size is None:
        sizes = Counter(h.size for h in headers.values())
        if len(sizes) > 1:
            some = ", ".join(f"{n} are {h} x {w}" for (h, w), n in sizes.most_common(3))
            raise ValueError(f"size must be given for pictures of several sizes: {some}{', ...' * (len(sizes) > 3)}")
        return next(iter(sizes), (1, 1))
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1; got {size}")
    return height, width


def classes_of(folder: Path, files: Sequence[Path]) -> tuple[tuple[str, ...], Tensor | None]:
    """(names, `(N,)` labels) by the subfolder of each file; none if a file lies directly in `folder`.

    Raises:
        ValueError: for a subfolder whose name is no text.
    """
    parts = [path.relative_to(folder).parts for path in files]
    if any(len(p) == 1 for p in parts):
        return (), None
    names = sorted({p[0] for p in parts})
    if odd := [name for name in names if not name.isprintable()]:  # no UTF-8, or a line end: no name for a label
        raise ValueError(f"{folder}: the folder {odd[0]!r} is no name for a class, which is text in UTF-8: rename it")
    number = {name: i for i, name in enumerate(names)}
    return tuple(names), torch.tensor([number[p[0]] for p in parts], device="cpu")
