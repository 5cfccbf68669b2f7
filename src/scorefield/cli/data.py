"""`scorefield data`: fetch the named sets, and look at any data before training on them."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorefield.catalogue import known
from scorefield.cli import _options as opt
from scorefield.cli._output import Results

if TYPE_CHECKING:
    from scorefield.data import Source

app = typer.Typer(
    help="Fetch named data sets; look at data before training on them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FETCHED = ("mnist", "fashion")
BUILT_IN = ("digits", "wine", "breast-cancer", "diabetes")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of data sets. [default: $SCOREFIELD_DATA, or the user's cache]"),
]


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(FETCHED)}.", show_default=False)],
    data_dir: DataDir = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror", help="Address of a folder with the .gz files, instead of the public ones; repeatable."
        ),
    ] = None,
) -> None:
    """Download a data set from its public mirrors, and verify it. What is there already is left; a part is resumed."""
    name = known("data set", name, FETCHED)
    from scorefield import data

    with _bar() as progress:
        files = data.fetch(name, data_dir=data_dir, mirrors=mirror or (), progress=progress)
    typer.echo(f"{name}: {len(files)} files, verified, in {files[0].parent}")


@app.command("show")
@opt.reads(old={"--label": "--label-column"})
def show(
    what: Annotated[
        str,
        typer.Argument(help=f"A file, a folder of pictures, or one of: {', '.join(FETCHED + BUILT_IN)}."),
    ],
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option("--split", help="train or test, of a named set.")] = "train",
    out: Annotated[
        Path | None, typer.Option("--out", help="PNG to write: the first pictures, in a grid.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Pictures in the grid.")] = 64,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of the same name.")] = False,
    json: Annotated[str | None, typer.Option("--json", help="- prints the numbers as JSON and nothing else.")] = None,
    *,
    reading: opt.Reading,
) -> None:
    """Count, shape, levels, classes and moments of a data set, raw and as a model sees it."""
    if out is not None and out.suffix != ".png":
        raise ValueError(f"--out must end in .png; got {out}")
    if json not in (None, "-"):
        raise ValueError(f"--json takes '-', for the standard output; got {json!r}")
    with _warnings_as_lines():
        source = _source(what, data_dir, split, reading.policy)

    from scorefield.cli import _data

    results = None if out is None else Results(out, overwrite, json, (".png",))
    _data.show(what, source, results, n, quiet=json == "-")


def _source(what: str, data_dir: Path | None, split: str, policy: dict[str, Any]) -> Source:
    if what not in FETCHED + BUILT_IN and not Path(what).exists():
        what = known("file, folder or data set", what, FETCHED + BUILT_IN)
    split = known("split", split, ("train", "test"))
    from scorefield import data

    if what not in FETCHED + BUILT_IN:
        return data.load(what, **policy)
    if policy:
        first = "label-column" if "label" in policy else next(iter(policy)).replace("_", "-")
        raise ValueError(f"--{first} is for files and folders; {what} is a named set")
    if what in FETCHED:
        return data.named(what, data_dir=data_dir, split=split)  # type: ignore[arg-type]
    if what == "digits":
        halves = data.digits()
        x, y = (halves.train, halves.train_labels) if split == "train" else (halves.test, halves.test_labels)
        return data.Arrays(x, y, levels=data.LEVELS)
    return data.tabular(what)  # type: ignore[arg-type]


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A progress bar for each file, where someone is there to see it."""
    if not sys.stdout.isatty():
        yield None
        return
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn())
    with rich.Progress(*columns, rich.TransferSpeedColumn(), rich.TimeRemainingColumn()) as bar:
        tasks: dict[str, rich.TaskID] = {}

        def advance(file: str, done: int, total: int | None) -> None:
            task = tasks.get(file)
            if task is None:
                task = tasks[file] = bar.add_task(file, total=total)
            bar.update(task, completed=done, total=total)

        yield advance
