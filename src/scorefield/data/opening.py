"""Opening what others may have written: files and no pipes, unpacked to a size that was looked at before.

A packed file may hold a thousand times its size in zeros, and an array's header may say anything. So a file is never
unpacked to more than

    ALWAYS + RATIO x its own size

bytes, and no array is made whose header asks for more bytes than are there.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

ALWAYS = 64 << 20
RATIO = 100  # deflate reaches 1,032; pictures, series and text stay below 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def a_file(path: str | os.PathLike[str]) -> Path:
    """`path`, where it is a file: a pipe would be waited for, and a device may have no end.

    Raises:
        ValueError: for anything else that is there.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file; got {'a folder' if path.is_dir() else 'a pipe or a device'}")
    return path


def most(packed: int) -> int:
    """Bytes that so many packed ones may become."""
    return ALWAYS + RATIO * packed


def within(path: str | os.PathLike[str], unpacked: int, packed: int) -> None:
    """Refuses what would become too large.

    Raises:
        ValueError: naming the file.
    """
    if unpacked > most(packed):
        raise ValueError(
            f"{path}: {packed:,} bytes that unpack to {unpacked:,} or more, over {RATIO} times as many: unpack it "
            "yourself if that is meant"
        )


def unzipped(path: str | os.PathLike[str]) -> bytes:
    """A file's content, decompressed if it is gzip by its first two bytes.

    Raises:
        ValueError: naming the file, if the compressed data are damaged, or become more than `most` of their size.
    """
    path = a_file(path)
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    limit = most(len(content))
    try:
        plain = gzip.GzipFile(fileobj=io.BytesIO(content)).read(limit + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: damaged gzip data ({error})") from None
    within(path, len(plain), len(content))
    return plain


def arrays(path: str | os.PathLike[str]) -> Any:
    """What NumPy's `load` makes of a .npy or .npz file; pickles are never loaded.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, if it is damaged, or larger unpacked than its size allows.
    """
    path = a_file(path)
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                within(path, sum(member.file_size for member in archive.infolist()), size)
                for member in archive.infolist():
                    if member.filename.endswith(".npy"):
                        with archive.open(member) as file:
                            _fits(file, member.file_size)
        else:
            with path.open("rb") as file:
                _fits(file, size)
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        said = " ".join(str(error).split())
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said or type(error).__name__}") from None


#: What NumPy and zipfile raise on a bad file, and on reading its members.
DAMAGE = (ValueError, OSError, EOFError, RuntimeError, KeyError, TypeError, SyntaxError, OverflowError,
          tokenize.TokenError,
          zipfile.BadZipFile, zlib.error, struct.error)  # fmt: skip


def _fits(file: Any, size: int) -> None:
    """Refuses an array whose header asks for more bytes than there are; what is no array NumPy refuses itself."""
    try:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except DAMAGE:
        return
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"damaged (an array of {dtype} and shape {shape} has more than the {size:,} bytes here)")
