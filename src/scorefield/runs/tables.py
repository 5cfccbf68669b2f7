"""Samples of a table, into a file that others read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scorefield.data.tables import NEEDS_PYARROW, SUFFIXES
from scorefield.storage.files import replace as replace_file

if TYPE_CHECKING:
    from pandas import DataFrame


def write(path: str | os.PathLike[str], frame: DataFrame) -> None:
    """A table into a .csv, .tsv or .parquet file, whole or not at all; empty cells are empty.

    Raises:
        ValueError: for a file of another name; for .parquet without pyarrow.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a table goes into {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        try:
            content = frame.to_parquet(index=False)
        except ImportError:
            raise ValueError(NEEDS_PYARROW.format(path)) from None
    else:
        content = frame.to_csv(index=False, sep="\t" if suffix == ".tsv" else ",").encode()
    assert isinstance(content, bytes)
    replace_file(path, content)
