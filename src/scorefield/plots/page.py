"""A page of tables and pictures, one file that needs no other: it can be moved, mailed and opened anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Section(NamedTuple):
    """A heading, a paragraph, and a picture (a PNG file) that goes with it."""

    title: str
    text: str
    picture: Path


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
    """Writes the page and returns its path.

    Args:
        rows: the table at the top.
        tables: those after it.
        facts: the small print at the bottom.
    """
    body = "\n".join(_section(section) for section in sections)
    page = _PAGE.format(
        title=html.escape(title),
        lead=html.escape(lead),
        style=_STYLE,
        table=_table(rows, header=("measured", "value", "beside it")),
        tables="\n".join(_wide(table) for table in tables),
        sections=body,
        facts=_table(facts, header=None),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _section(section: Section) -> str:
    encoded = base64.b64encode(section.picture.read_bytes()).decode("ascii")
    title = html.escape(section.title)
    return (
        f"<section><h2>{title}</h2><p>{html.escape(section.text)}</p>"
        f'<figure><img alt="{title}" src="data:image/png;base64,{encoded}"></figure></section>'
    )


def _table(rows: Sequence[Row], header: tuple[str, str, str] | None) -> str:
    head = "<thead><tr>" + "".join(f"<th>{h}</th>" for h in header) + "</tr></thead>" if header else ""
    lines = "".join(
        f"<tr><td>{html.escape(r.name)}</td><td class=number>{html.escape(r.value)}</td>"
        f"<td class=note>{html.escape(r.note)}</td></tr>"
        for r in rows
    )
    return f"<table>{head}<tbody>{lines}</tbody></table>"


def _wide(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.text)}</p><div class=wide>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></section>"
    )


_STYLE = """
:root { color-scheme: light; --ink: #1f2937; --muted: #6b7280; --line: #e5e7eb; --blue: #1d4e89; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; color: var(--blue); }
h2 { font-size: 1.15rem; margin: 0 0 .35rem; }
p { margin: 0 0 1rem; max-width: 46rem; }
.lead { color: var(--muted); font-size: 1.05rem; }
section, .card {
  background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem 1.5rem; margin: 1.25rem 0;
}
figure { margin: 0; overflow-x: auto; text-align: center; }
img { max-width: 100%; height: auto; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: .85rem; }
th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.number { font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap; }
.note { color: var(--muted); font-size: .92rem; }
.facts { font-size: .9rem; }
.wide { overflow-x: auto; font-size: .85rem; font-variant-numeric: tabular-nums; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
<div class="card">{table}</div>
{tables}
{sections}
<div class="card facts">{facts}</div>
</main>
</body>
</html>
"""
