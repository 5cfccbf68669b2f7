"""The idx format of MNIST: two zero bytes, type, number of dimensions, dimensions, numbers; big-endian."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scorefield.data.opening import unzipped

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray:
    """The array in an idx file, gzip-compressed or not, in this machine's byte order.

    Raises:
        ValueError: naming the file, if it is damaged or another format.
    """
    return parse_idx(unzipped(path), path)


def parse_idx(content: bytes, path: str | os.PathLike[str]) -> NDArray:
    """The array in the bytes of an idx file; `path` is for the error.

    Raises:
        ValueError: for bytes that are no idx file, or fewer or more of them than its header says.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ValueError(
            f"{path}: expected an idx file, which begins 00 00, type, dimensions; got {content[:4].hex(' ')}"
        )
    kind, ndim = np.dtype(_TYPES[content[2]]), content[3]
    if ndim > 32:
        raise ValueError(f"{path}: an idx array has at most 32 dimensions here; got {ndim}")
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(f"{path}: an idx header of {ndim} dimensions needs {start} bytes; got {len(content)}")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    expected = start + math.prod(shape) * kind.itemsize
    if len(content) != expected:
        raise ValueError(f"{path}: an idx array of shape {shape} needs {expected} bytes; got {len(content)}")
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def labels_beside(path: Path) -> Path | None:
    """The labels of an images file by the usual name, ...images-idx3-ubyte -> ...labels-idx1-ubyte, if it is there."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    beside = (path.with_name(n) for n in (name, plain, f"{plain}.gz"))
    return next((p for p in beside if p.is_file()), None)
