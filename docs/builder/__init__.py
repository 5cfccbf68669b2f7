"""What the site needs besides Sphinx.

Formulas as MathML, docstrings as they are written here, an API page for each package, scenes of the playground, every
page as Markdown, llms.txt.
"""

import html
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

from builder import api, docstrings, markdown, scenes

MATHML = "http://www.w3.org/1998/Math/MathML"
#: TeX takes one token where no braces stand: \frac12, \frac h2, \frac1{2L}.
FRACTION = re.compile(r"\\[td]?frac\s*(\\[a-z]+|\w)\s*(\\[a-z]+|\w|\{[^{}]*\})")
ENTITY = re.compile(r"&(?!lt;|gt;|amp;)\w+;")  # HTML's, which XML does not know
LOGGER = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    app.add_directive("scene", scenes.Scene)
    app.connect("builder-inited", lambda app: api.write(Path(app.srcdir)))
    app.connect("autodoc-process-docstring", _docstring, priority=100)  # before napoleon
    app.connect("build-finished", _finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def pictures(_block: Any, variables: dict[str, Any], conf: dict[str, Any]) -> str:
    """A scraper of sphinx-gallery: the PNG files that a block of a lesson left in its folder."""
    from sphinx_gallery.scrapers import figure_rst

    names = []
    for path in sorted(Path(variables["src_file"]).parent.glob("*.png"), key=lambda p: p.stat().st_mtime_ns):
        image = Path(next(variables["image_path_iterator"]))
        path.replace(image)
        names.append(str(image))
    return figure_rst(names, conf["src_dir"])


def _inline(self: Any, node: nodes.Element) -> None:
    self.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def _displayed(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<div class="math">{_mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def mathml(tex: str, *, block: bool) -> str:
    """The formula as MathML, by docutils, whose indices of accented letters are set below them: put right here.

    Raises:
        MathError: for what it does not know.
    """
    ElementTree.register_namespace("", MATHML)
    made = tex2mathml(FRACTION.sub(r"\\frac{\1}{\2}", tex), as_block=block)
    root = ElementTree.fromstring(ENTITY.sub(lambda m: html.unescape(m[0]), made))
    for node in root.iter(f"{{{MATHML}}}munderover"):
        base, index, accent = node
        if accent.get("stretchy") == "false":
            over = ElementTree.Element(f"{{{MATHML}}}mover", {"accent": "true"})
            over.extend((base, accent))
            node.tag = f"{{{MATHML}}}msub"
            node[:] = [over, index]
    return ElementTree.tostring(root, encoding="unicode")


def _mathml(node: nodes.Element, *, block: bool) -> str:
    try:
        return mathml(node.astext(), block=block)
    except MathError as error:
        LOGGER.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{node.astext()}</code>"


def _docstring(_app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = docstrings.to_rst(lines) + api.used_in(name)


def _finished(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        scenes.write(app)
        markdown.write(app)
