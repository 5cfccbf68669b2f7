"""A page of tables and pictures, one file that needs no other: it can be moved, mailed and opened anywhere.

What it looks like is `templates/page.html`; everything that is put into it is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from scorefield._origin import origin
from scorefield.storage import files

DPI = 110  # of pictures as `plots.save` draws them


class Section(NamedTuple):
    """A heading, a paragraph, and a picture that goes with it."""

    title: str
    text: str
    picture: Path | bytes  # a PNG file, or what would be in it
    alt: str  # what the picture shows, for who does not see it


class Row(NamedTuple):
    """One line of a table: what was measured, the number, and what to compare it with."""

    name: str
    value: str
    note: str = ""


class Table(NamedTuple):
    """A table of any number of columns, under its heading and a paragraph."""

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_page(
    path: Path,
    *,
    title: str,
    lead: str,
    rows: Sequence[Row],
    sections: Sequence[Section],
    facts: Sequence[Row],
    tables: Sequence[Table] = (),
) -> Path:
    """Writes the page, in one step, and returns its path.

    Args:
        rows: the table at the top.
        tables: those after it.
        facts: the small print at the bottom.
    """
    pages = Environment(
        loader=PackageLoader("scorefield.plots"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["png"] = _png
    content = pages.get_template("page.html").render(
        title=title, lead=lead, rows=rows, sections=sections, facts=facts, tables=tables,
        made={"Command": "", **origin()},
    )  # fmt: skip
    files.replace(path, content.encode())
    return path


class Drawn(NamedTuple):
    """A picture as the page holds it."""

    src: str
    width: int  # CSS pixels
    height: int


def _png(picture: Path | bytes) -> Drawn:
    """As large on the page as in print at `DPI`: one drawn finer than that stays sharp on a phone."""
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        finer = image.info.get("dpi", (DPI, DPI))[0] / DPI
        width, height = (round(side / finer) for side in image.size)
    return Drawn("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height)
