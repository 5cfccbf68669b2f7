"""Options that several commands share, and what they say together: which data of which run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from scorefield.cli._output import note

Run = Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option("--data", help="A name, a picture, a folder, an .npy, .npz, ... [default: the run's held-out data]"),
]
Index = Annotated[
    str | None,
    typer.Option("--index", help="Which of them, from 0: 7 or 3,5 or 0-9. [default: 0-9; of your own, all]"),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", help="Class, by name or number; repeat it for several in turn. [default: held-out data's own]"
    ),
]
NoLabel = Annotated[bool, typer.Option("--no-label", help="Ask for no class.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all noise; that of a datum depends on its place too.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="PNG to write, with .npz and .json beside it. [default: in the run]", show_default=False
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", help="- prints the numbers as JSON and nothing else; or a file for them.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")]
Kind = Annotated[str | None, typer.Option("--kind", help="Of shards: npz, or tar for webdataset.")]
Shard = Annotated[
    int | None, typer.Option("--shard", min=1, help="Results in a shard. [default: some 64 MB, of data at most 1,024]")
]
Chunk = Annotated[
    int | None,
    typer.Option("--chunk", min=1, help="Of shards: how many at a time. [default: 32; vectors 1,024, likelihoods 64]"),
]


READING = {
    "size": Annotated[int | None, typer.Option("--size", min=1, help="Of pictures: height and width.")],
    "fit": Annotated[
        str | None, typer.Option("--fit", help="How pictures of another size are made to fit: crop, resize or pad.")
    ],
    "on_error": Annotated[
        str | None, typer.Option("--on-error", help="raise or skip, for unusable pictures. [default: raise]")
    ],
    "key": Annotated[str | None, typer.Option("--key", help="Of the array in an .npz file.")],
    "label_column": Annotated[
        str | None, typer.Option("--label-column", help="Of the labels: a table's column, or an array in an .npz file.")
    ],
    "missing": Annotated[
        str | None,
        typer.Option("--missing", help="Empty cells of a table: refuse, drop, impute or learn. [default: refuse]"),
    ],
    "layout": Annotated[
        str | None, typer.Option("--layout", help="Of an array's axes: HW, HWC or CHW, L, LC or CL; or as-is.")
    ],
}
"""How data are read: options of every command that reads some."""

_CHOICES = {
    "fit": ("crop", "resize", "pad"),
    "on_error": ("raise", "skip"),
    "missing": ("refuse", "drop", "impute", "learn"),
}


@dataclass(frozen=True)
class Reading:
    """How a user said that data are read."""

    size: int | None = None
    fit: str | None = None
    on_error: str | None = None
    key: str | None = None
    label_column: str | None = None
    missing: str | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in (None, *choices):
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} must be {', '.join(choices[:-1])} or {choices[-1]}; got {value!r}")

    @property
    def policy(self) -> dict[str, Any]:
        """What was said, as arguments of a reader."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {"label" if name == "label_column" else name: value for name, value in given.items()}

    def needs(self, given: object, option: str) -> None:
        """Refuses to say how data are read where none are `given`.

        Raises:
            ValueError: for that; names the `option` that gives some.
        """
        if self.policy and given is None:
            first = next(name for name, value in asdict(self).items() if value is not None)
            raise ValueError(f"--{first.replace('_', '-')} says how {option} is read: give one")


def reads(command: Callable[..., None] | None = None, *, old: Mapping[str, str] | None = None) -> Any:
    """Gives a command the options of `READING`, which it gets as one, `reading`.

    Args:
        old: names that options had, and what they are called now: they work, hidden, and say so.
    """
    if command is None:
        return functools.partial(reads, old=old)
    made, hints = inspect.signature(command).parameters, get_type_hints(command, include_extras=True)
    hints.pop("return", None)
    new = {name: hint for name, hint in hints.items() if name != "reading"} | READING
    parameters = {name: made[name].replace(annotation=hint) for name, hint in new.items() if name in made}
    for name, hint in READING.items():
        parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
    for option in old or {}:
        hidden = Annotated[str | None, typer.Option(option, hidden=True)]
        name = option.strip("-").replace("-", "_")
        new[name] = hidden
        parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hidden)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for option, now in (old or {}).items():
            value = given.pop(option.strip("-").replace("-", "_"))
            if value is not None:
                note(f"{option} is {now} now")
                name = now.strip("-").replace("-", "_")
                given[name] = value if given[name] is None else given[name]
        command(
            **{k: v for k, v in given.items() if k not in READING}, reading=Reading(**{k: given[k] for k in READING})
        )

    del run.__wrapped__
    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = new
    return run


@dataclass(frozen=True)
class Wanted:
    """Which data of which run, as a user said it."""

    run: Path
    data: str | None = None
    index: str | None = None
    reading: Reading = Reading()
    label: list[str] | None = None
    no_label: bool = False
    seed: int = 0
    device: str | None = None
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.label and self.no_label:
            raise ValueError("--label and --no-label exclude each other")
        self.reading.needs(self.data, "--data")
        if self.index is not None:
            places(self.index)

    def at(self, index: str) -> Wanted:
        """The same, at other places."""
        return replace(self, index=index)


def places(text: str) -> list[int]:
    """`3,5,0-9` as numbers, in that order.

    Raises:
        ValueError: for anything else.
    """
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.isdecimal() for end in ends) or int(ends[-1]) < int(ends[0]):
            raise ValueError(f"--index must be numbers and ranges such as 7 or 0-9,12; got {text!r}")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return found


def numbers(option: str, texts: list[str], low: float, high: float) -> list[float]:
    """`--strength 0.2,0.5` or the option repeated, each number in [low, high].

    Raises:
        ValueError: for anything else.
    """
    try:
        found = [float(part) for text in texts for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(low <= value <= high for value in found):
        said = ",".join(texts)
        raise ValueError(f"{option} must be numbers from {low:g} to {high:g} with commas between; got {said!r}")
    return found
