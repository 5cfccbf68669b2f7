"""Docstrings as this project writes them, Markdown with indented formulas, made reStructuredText.

`x`                        a literal
a deeper indented block    a formula where every word in it is one of a formula, else text as it stands
| rows |                   a table, as it stands
* _ |                      themselves
"""

import re
from collections.abc import Sequence

from builder.equations import to_latex

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|References|Note|Notes|Example|Examples):")
CODE = re.compile(r"`+([^`]+)`+")
INNER = r"\1"


def to_rst(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, for napoleon and docutils."""
    found: list[str] = []
    i, section = 0, False
    while i < len(lines):
        line = lines[i]
        if SECTION.match(line):
            section = True
            name, _, rest = line.partition(":")
            # "Args: as for `f`." is a sentence; napoleon wants the word alone
            found += [f"{name}:", "", "    " + _escaped(rest.strip()), ""] if rest.strip() else [line]
            i += 1
            continue
        if line and not line.startswith(" "):
            section = False
        indent = len(line) - len(line.lstrip())
        starts = line.strip() and indent >= (8 if section else 4) and (not found or not found[-1].strip())
        if (starts and not section) or line.startswith("| "):
            block = _block(lines, i, 4 if not line.startswith("| ") else 0)
            found += _shown(block)
            i += len(block)
            continue
        found.append(_escaped(line))
        i += 1
    return found


def _block(lines: Sequence[str], start: int, indent: int) -> list[str]:
    """The lines from `start` that are indented as much, or are of a table."""
    end = start
    while end < len(lines) and (
        (indent and (lines[end].startswith(" " * indent) or _inside(lines, end, indent)))
        or (not indent and lines[end].startswith("|"))
    ):
        end += 1
    return list(lines[start:end])


def _inside(lines: Sequence[str], i: int, indent: int) -> bool:
    return not lines[i].strip() and i + 1 < len(lines) and lines[i + 1].startswith(" " * indent)


def _shown(block: list[str]) -> list[str]:
    while block and not block[-1].strip():
        block = block[:-1]
    margin = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    block = [line[margin:] for line in block]
    formula = to_latex(block)
    if formula:
        return ["", ".. math::", "", f"    {formula}", ""]
    return ["", ".. code-block:: text", "", *("    " + line for line in block), ""]


def _escaped(line: str) -> str:
    """Single backquotes are code; what follows at once is parted from it, as reStructuredText wants."""
    parts = re.split(r"(`+[^`]+`+)", line)
    made = ""
    for part, after in zip(parts, [*parts[1:], ""], strict=True):
        if part.startswith("`"):
            made += f"``{CODE.sub(INNER, part)}``" + ("\\ " if after[:1].isalnum() else "")
        else:
            made += _plain(part)
    return made


def _plain(text: str) -> str:
    text = re.sub(r"([*|])", r"\\\1", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)
