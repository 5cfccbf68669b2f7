"""Files that are whole or as they were, and plain values as JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def replace(path: Path, content: bytes) -> None:
    """Makes `content` the file `path` in one step: the old file is there until the new one is durable."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
