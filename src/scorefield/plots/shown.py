"""What drawings of data share: what is known of the data, and a figure with its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from scorefield.data import TableSchema

WIDTH = 5.6  # inches of a figure that is to be read on a phone too


class Look(NamedTuple):
    """What is known of data beside their numbers, for who draws them."""

    levels: int | None = None  # pictures of 0 .. levels - 1
    columns: tuple[str, ...] = ()  # a table's
    class_names: tuple[str, ...] = ()  # of the classes 0, 1, ...
    masked: bool = False  # the last channel of a series is 1 where there is one, 0 beyond its end
    axis: str = ""  # what series run along, "time (s)"
    step: float = 1.0  # from one number of a series to the next, on that axis
    unit: str = ""  # of the numbers of a series
    table: TableSchema | None = None  # what the columns of a table are

    def called(self, label: int) -> str:
        """The class as a reader knows it: by its name, or as "class 3"."""
        names = self.class_names
        return names[label] if label < len(names) and names[label] != str(label) else f"class {label}"


class Shown(NamedTuple):
    """A figure, what it is, and what it shows to who does not see it."""

    title: str
    text: str
    alt: str
    figure: Figure


def rows_of(
    rows: Sequence[int], labels: Sequence[int] | None, look: Look, asked: Sequence[int] | None = None
) -> list[str]:
    """What rows of a picture are called: "#3 (class 0)", the place of a datum and its class.

    Where it was `asked` to be of another, that is said too: "#3 (class 0 as class 5)".
    """
    if labels is None:
        labels, asked = asked, None
    if labels is None:
        return [f"#{row}" for row in rows]
    other = [None] * len(labels) if asked is None else asked
    return [
        f"#{row} ({look.called(label)}{'' if a in (None, label) else f' as {look.called(a)}'})"
        for row, label, a in zip(rows, labels, other, strict=True)
    ]


def of(shown: int, all_: int, what: str) -> str:
    """ "8 of 10 samples", or "10 samples" where all are shown."""
    return f"{all_:,} {what}" if shown >= all_ else f"{shown:,} of {all_:,} {what}"
