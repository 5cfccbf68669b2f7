"""The page as one file that needs nothing else: its modules in one script, its styles, and what it shows.

Each module becomes a function that is called once and returns what the module exports, behind those it imports. The
content-security policy of the file admits its own script and style by their hashes, and nothing remote.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import posixpath
import re
from importlib import resources

from scorefield.play.shown import shown

_IMPORT = re.compile(r"^import\s+(\{[^}]*\})\s+from\s+'([^']+)';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:const|let|function|class) (\w+))", re.MULTILINE)


def source(name: str) -> str:
    """The text of a file of the page."""
    return (resources.files("scorefield.play") / "page" / name).read_text(encoding="utf-8")


def modules(entry: str = "app.js") -> dict[str, str]:
    """The modules that `entry` needs, by path, each after those it imports; it comes last.

    Raises:
        ValueError: for modules that import each other in a circle.
    """
    done: dict[str, str] = {}
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in open_:
            raise ValueError(f"modules import each other: {' -> '.join([*open_, name])}")
        open_.append(name)
        text = source(name)
        for _, target in _IMPORT.findall(text):
            visit(_path(name, target))
        open_.pop()
        done[name] = text

    visit(entry)
    return done


def joined() -> str:
    """All modules as one script."""
    number = {name: f"module{i}" for i, name in enumerate(modules())}
    parts = ["'use strict';"]
    for name, text in modules().items():
        exported = ", ".join(word for _, word in _EXPORT.findall(text))
        body = _EXPORT.sub(r"\1", text)
        body = _IMPORT.sub(
            lambda m, at=name: f"const {m[1].replace(' as ', ': ')} = {number[_path(at, m[2])]};\n", body
        )
        parts.append(f"const {number[name]} = (() => {{\n{body}\nreturn {{{exported}}};\n}})();")
    return "\n".join(parts)


def _path(name: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def page() -> str:
    """The whole page."""
    script, style = joined(), source("style.css")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    packed = base64.b64encode(gzip.compress(shown().encode(), 9, mtime=0)).decode()
    html = source("index.html")
    html = html.replace(
        '<meta charset="utf-8">',
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    html = html.replace('<link rel="stylesheet" href="style.css">', f"<style>{style}</style>")
    return html.replace(
        '<script type="module" src="app.js"></script>',
        f'<script type="text/plain" id="shown">{packed}</script>\n<script type="module">{script}</script>',
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
