"""Where results go: found or refused before any work is done, and never on top of what is there; and what is said."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def run_folder(out: Path | None, default: str, say: Callable[[str], None] = typer.echo) -> Path:
    """A new or empty folder for a run, created and writable: `out`, or the next free one of `default`.

    Raises:
        ValueError: if `out` is a folder that already holds something.
        OSError: if it cannot be created or written to.
    """
    return writable(free_folder(default, say) if out is None else unused(out))


def unused(out: Path) -> Path:
    """`out`, which the user named, if it is not there or empty.

    Raises:
        ValueError: if it is a folder that already holds something.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty, and nothing there is overwritten: choose another --out")
    return out


def file_name(name: str) -> str:
    """`name` as that of a file or folder: what is no letter, digit, point, plus, minus or line in it is a line."""
    plain = re.sub(r"[^\w.+=,-]+", "_", name)[:LONGEST].lstrip(".")
    return plain or "_"


def free_folder(default: str, say: Callable[[str], None] = typer.echo) -> Path:
    """The first of `default`, `default`-2, ... that holds nothing; another than `default` is announced in a line."""
    folder, number = Path(default), 1
    while folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        number += 1
        folder = Path(f"{default}-{number}")
    if number > 1:
        say(f"{default} exists: writing to {folder}")
    return folder


def picture_folder(out: Path | None, default: str, names: Iterable[str], overwrite: bool) -> Path:
    """A folder for files of the given `names`, created and writable. Other files in it are left alone.

    Raises:
        ValueError: if one of the files exists and `overwrite` is off.
        OSError: if the folder cannot be created or written to.
    """
    folder, names = out or Path(default), list(names)
    taken = [name for name in names if os.path.lexists(folder / name)]  # a link into nothing, too
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


@contextlib.contextmanager
def made(folder: Path) -> Iterator[Path]:
    """`folder`, created and writable; if what follows fails it is taken away again, and what was created to hold it.

    A folder that was there stays, and one that something was left in.

    Raises:
        OSError: if it cannot be created or written to.
    """
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield writable(folder)
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # not empty, or not there
                path.rmdir()
        raise


@dataclass(frozen=True)
class Results:
    """Where a command's results go: a picture, and beside it what else it writes."""

    picture: Path
    overwrite: bool = False
    json: str | None = None  # where the summary goes; "-": to the standard output, and nothing else does
    suffixes: tuple[str, ...] = RESULTS

    def claim(self) -> None:
        """Refuses what is there and makes the folder, before the work and once all is valid that a user said.

        Raises:
            ValueError: if one of the files exists and is not to be replaced.
            OSError: if their folder cannot be created or written to.
        """
        names = [self.picture.with_suffix(suffix).name for suffix in self.suffixes]
        picture_folder(self.picture.parent, "", names, self.overwrite)
        if self.json not in (None, "-") and os.path.lexists(str(self.json)) and not self.overwrite:
            raise ValueError(f"{self.json} exists: choose another --json, or replace it with --overwrite")

    @property
    def quiet(self) -> bool:
        """Whether the summary takes the place of all that is printed."""
        return self.json == "-"

    @property
    def summary(self) -> Path:
        """The file of the summary."""
        return self.picture.with_suffix(".json") if self.json in (None, "-") else Path(str(self.json))

    def file(self, suffix: str) -> Path:
        """The one of that suffix."""
        return self.picture.with_suffix(suffix)


def result_files(
    out: Path | None,
    run: Path,
    stem: str,
    overwrite: bool,
    json: str | None = None,
    suffixes: tuple[str, ...] = RESULTS,
    *,
    tables: bool = False,
) -> Results:
    """The files of a command's results, of which `out` is the PNG; without it, `stem` in the run.

    Args:
        tables: `out` may be the file of a table, which then is all that is written.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if `out` is no .png.
    """
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    if out is None:
        out = (run if run.is_dir() else run.parent) / f"{stem}.png"
    if tables and out.suffix.lower() in TABLES:
        return Results(out, overwrite, json, (out.suffix,))
    if out.suffix != ".png":
        also = f", or for a table in {', '.join(TABLES)}" if tables else ""
        raise ValueError(f"--out must end in .png{also}; got {out}")
    return Results(out, overwrite, json, suffixes)


def to_json(where: str | None, numbers: Mapping[str, Any]) -> bool:
    """Writes `numbers` where `--json` says; whether that is the standard output, on which nothing else belongs then."""
    if where is None:
        return False
    text = json.dumps(numbers, indent=2)
    if where == "-":
        print(text)
    else:
        from scorefield.storage import files  # heavy: whoever has numbers to write has it already

        files.replace(Path(where), f"{text}\n".encode())
    return where == "-"


def stem(name: str, seed: int, *, data: str | None = None, **made: object) -> str:
    """A file's name from what made it: `name`, the `data` it was given, then `made`, each by its value, and the seed.

    >>> stem("samples", 0, solver="heun", label=["cat", "3"], guidance=2.0)
    'samples-heun-label-cat+3-guidance2-seed0'
    """
    parts = [name, *([] if data is None else [Path(data).stem or data])]
    for key, value in made.items():
        if value is None or value is False or value == []:
            continue
        listed = value if isinstance(value, list | tuple) else [value]
        said = "+".join(f"{v:g}" if isinstance(v, float) else str(v) for v in listed)
        if value is True or key in ("solver", "method", "operator"):
            parts.append(key if value is True else said)
        else:
            parts.append(f"{key}{said}" if said[:1].isdigit() else f"{key}-{said}")
    plain = re.sub(r"[^\w.+=,-]+", "_", "-".join([*parts, f"seed{seed}"]))
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


LONGEST = 120  # characters of a file's name, before its suffix
