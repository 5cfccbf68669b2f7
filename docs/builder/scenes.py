"""Scenes of the playground, live in a page.

    .. scene:: langevin
       :title: what it shows

The site has one copy of `scorefield play --export`, which needs no network; a frame shows a scene of it.
"""

from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from scorefield.play import export

FILE = "_static/playground.html"


def write(app: Sphinx) -> None:
    """The playground's file, beside the pages."""
    path = Path(app.outdir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(export.page(), encoding="utf-8")


def address(docname: str, scene: str) -> str:
    """Where the scene is, seen from the page `docname`."""
    return f"{'../' * docname.count('/')}{FILE}#scene={scene}"


class Scene(SphinxDirective):
    """A frame with the scene, read when it comes into view, and a link to it alone."""

    required_arguments = 1
    option_spec: ClassVar = {"title": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        scene, title = self.arguments[0], self.options.get("title")
        if not title:
            raise self.error(f"scene {scene}: say its title, for those who do not see it")
        if f"scenes/{scene}.js" not in export.modules():
            raise self.error(f"scene {scene!r} is not of the playground")
        at = address(self.env.docname, scene)
        frame = f'<iframe class="scene" src="{at}" title="{nodes.unescape(title)}" loading="lazy"></iframe>'
        link = nodes.paragraph("", "", nodes.reference("", f"Open the scene alone: {title}.", refuri=at))
        return [nodes.raw("", frame, format="html"), link]
