"""Every page as Markdown beside its HTML, and llms.txt, which lists them."""

import inspect
import re
from pathlib import Path

from sphinx.application import Sphinx

from builder import api, scenes

CELL = re.compile(r"^# %%.*$", re.MULTILINE)
LESSON = "docs/lessons/a lesson"  # as deep as each
REDIRECT = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def write(app: Sphinx) -> None:
    """docname.md for every page of the site, llms.txt, and an index.html at its root that leads on."""
    out, src = Path(app.outdir), Path(app.srcdir)
    for docname in app.env.found_docs:
        text = of(src, docname)
        path = out / f"{docname}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    titles = {name: node.astext() for name, node in app.env.titles.items()}
    (out / "llms.txt").write_text(listing(app, titles), encoding="utf-8")
    (out / "index.html").write_text(REDIRECT, encoding="utf-8")


def of(src: Path, docname: str) -> str:
    """The page's source where it is Markdown; of a lesson its script; of an API page the docstrings."""
    if (path := src / f"{docname}.md").exists():
        return path.read_text(encoding="utf-8")
    folder, _, name = docname.rpartition("/")
    if folder == "docs/lessons" and (script := src / "docs" / "course" / f"{name}.py").exists():
        return lesson(script.read_text(encoding="utf-8"))
    if folder == "docs/api" and name in api.packages():
        return reference(name)
    return from_rst((src / f"{docname}.rst").read_text(encoding="utf-8"))


def lesson(script: str) -> str:
    """A lesson's script with its text as text and its code in fences."""
    found = re.match(r'r?"""(.*?)"""\n(.*)', script, re.DOTALL)
    assert found
    parts, rest = [from_rst(found[1])], CELL.split(found[2])
    for part in rest:
        lines = part.strip("\n").split("\n")
        text = []
        while lines and lines[0].startswith("#"):
            text.append(lines.pop(0)[2:])
        parts += [from_rst("\n".join(text))] if text else []
        code = "\n".join(lines).strip("\n")
        parts += [f"```python\n{code}\n```\n"] if code else []
    return "\n".join(parts)


def from_rst(text: str) -> str:
    """The little reStructuredText that lessons and made pages use, as Markdown."""
    text = re.sub(r"^(?P<title>\S.*)\n([=\-~])\2{2,}$", _heading, text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. math::\n\n((?:    .*\n?|\n)+)", _displayed, text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. scene:: (\S+)\n   :title: (.+)\n", _scene, text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r":(?:doc|py:obj|ref):`([^<`]+?) <[^`]+>`", r"\1", text)
    text = re.sub(r":doc:`(/[^`]+)`", r"[\1](\1.md)", text)
    return text.replace("``", "`")


def _heading(match: re.Match[str]) -> str:
    return {"=": "# ", "-": "## ", "~": "### "}[match[2]] + match["title"]


def _scene(match: re.Match[str]) -> str:
    return f"[Open the scene: {match[2]}.]({scenes.address(LESSON, match[1])})\n"


def _displayed(match: re.Match[str]) -> str:
    return "$$\n" + inspect.cleandoc(match[1]).strip() + "\n$$\n\n"


def reference(name: str) -> str:
    """The docstrings of a package and of its public names."""
    module = api.packages()[name]
    parts = [f"# {name}\n", inspect.getdoc(module) or ""]
    for n in api.names(module):
        thing = getattr(module, n)
        if inspect.ismodule(thing):
            continue
        try:
            signature = str(inspect.signature(thing))
        except (TypeError, ValueError):
            signature = ""
        parts.append(f"\n## {name}.{n}\n\n```\n{n}{signature}\n```\n\n{inspect.getdoc(thing) or ''}")
    return "\n".join(parts) + "\n"


def listing(app: Sphinx, titles: dict[str, str]) -> str:
    """llms.txt: the project in a line, and every page with its title, in the order of the table of contents."""
    order = list(dict.fromkeys(_below(app, app.config.root_doc)))
    order += sorted(set(titles) - set(order))
    head = (
        "# scorefield\n\n> Score-based generative modelling in Python, checked against exact answers.\n\n## Pages\n\n"
    )
    return head + "".join(f"- [{titles[name]}]({name}.md)\n" for name in order if name in titles)


def _below(app: Sphinx, docname: str) -> list[str]:
    children = app.env.toctree_includes.get(docname, [])
    return [docname, *(d for child in children for d in _below(app, child))]
