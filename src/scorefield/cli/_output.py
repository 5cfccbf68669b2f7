"""Where results go: found or refused before any work is done, and never on top of what is there; and what is said."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import typer

TABLES = (".csv", ".tsv", ".parquet")  # files of tables
RESULTS = (".png", ".npz", ".json")  # a picture, arrays, a summary


def at_a_terminal() -> bool:
    """Whether someone is there to see a progress bar."""
    return sys.stdout.isatty()


def warn(line: str) -> None:
    """Something is wrong, and what is done about it."""
    print(f"warning: {line}", file=sys.stderr)


def note(line: str) -> None:
    """Something to know."""
    print(f"note: {line}", file=sys.stderr)


def run_folder(out: Path | None, default: str) -> Path:
    """A new or empty folder for a run, created and writable: `out`, or the next free one of `default`.

    Raises:
        ValueError: if `out` is a folder that already holds something.
        OSError: if it cannot be created or written to.
    """
    return writable(free_folder(default) if out is None else unused(out))


def unused(out: Path) -> Path:
    """`out`, which the user named, if it is not there or empty.

    Raises:
        ValueError: if it is a folder that already holds something.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty, and nothing there is overwritten: choose another --out")
    return out


def free_folder(default: str) -> Path:
    """The first of `default`, `default`-2, ... that holds nothing; another than `default` is announced in a line."""
    folder, number = Path(default), 1
    while folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        number += 1
        folder = Path(f"{default}-{number}")
    if number > 1:
        typer.echo(f"{default} exists: writing to {folder}")
    return folder


def picture_folder(out: Path | None, default: str, names: Iterable[str], overwrite: bool) -> Path:
    """A folder for files of the given `names`, created and writable. Other files in it are left alone.

    Raises:
        ValueError: if one of the files exists and `overwrite` is off.
        OSError: if the folder cannot be created or written to.
    """
    folder, names = out or Path(default), list(names)
    taken = [name for name in names if (folder / name).exists()]
    if taken and not overwrite:
        if out is not None:
            raise ValueError(f"{folder / taken[0]} exists: choose another --out, or replace it with --overwrite")
        number = 2
        while any((Path(f"{default}-{number}") / name).exists() for name in names):
            number += 1
        folder = Path(f"{default}-{number}")
        typer.echo(f"{Path(default) / taken[0]} exists: writing to {folder}")
    return writable(folder)


def writable(folder: Path) -> Path:
    """`folder`, created where missing and proved writable.

    Raises:
        OSError: if it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise ValueError(f"cannot write to {folder}: it is a file, not a folder") from None
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {(error.strerror or str(error)).lower()}") from error
    return folder


def result_files(out: Path | None, run: Path, stem: str, overwrite: bool) -> Path:
    """The PNG of a command's three files, .png, .npz and .json; without `out`, `stem` in the run.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if `out` is no .png, or one of the three exists and `overwrite` is off.
        OSError: if their folder cannot be created or written to.
    """
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    if out is None:
        out = (run if run.is_dir() else run.parent) / f"{stem}.png"
    if out.suffix != ".png":
        raise ValueError(f"--out must end in .png; got {out}")
    picture_folder(out.parent, "", [out.with_suffix(suffix).name for suffix in RESULTS], overwrite)
    return out
