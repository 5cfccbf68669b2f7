"""Options that several commands share, and what they say together: which data of which run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Your own: a picture, a folder, an .npy, .npz, ... [default: the run's held-out data]"
    ),
]
Index = Annotated[
    str | None,
    typer.Option("--index", help="Which of them, from 0: 7 or 3,5 or 0-9. [default: 0-9; of your own, all]"),
]
Fit = Annotated[
    str | None,
    typer.Option("--fit", help="How pictures of another size are made to fit: crop, resize or pad."),
]
Label = Annotated[
    list[int] | None,
    typer.Option("--label", help="Class; repeat it for several in turn. [default: held-out data's own]"),
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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")]


@dataclass(frozen=True)
class Wanted:
    """Which data of which run, as a user said it."""

    run: Path
    images: Path | None = None
    index: str | None = None
    fit: str | None = None
    label: list[int] | None = None
    no_label: bool = False
    seed: int = 0
    device: str | None = None
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.label and self.no_label:
            raise ValueError("--label and --no-label exclude each other")
        if self.fit is not None and self.fit not in ("crop", "resize", "pad"):
            raise ValueError(f"--fit must be crop, resize or pad; got {self.fit!r}")
        if self.fit is not None and self.images is None:
            raise ValueError("--fit is for the pictures of --images; the run's own have the right size")
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
