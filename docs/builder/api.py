"""A page for each public package, made of its `__all__`; names used in lessons and pages lead there and back."""

import functools
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import scorefield as sf
from builder import docstrings
from scorefield import plots

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "api"
HEAD = """API reference
=============

The public names, from their docstrings. ``sf`` is ``import scorefield as sf``; a name in the first table is at hand as
``sf.name``, the others in their package. What each is for: :doc:`/docs/architecture`; the symbols:
:doc:`/docs/conventions`.
"""


def packages() -> dict[str, ModuleType]:
    """The public packages by name, each with those within it that its `__all__` names."""
    found: dict[str, ModuleType] = {}
    left = [(f"scorefield.{n}", v) for n in sorted(dir(sf)) if isinstance(v := getattr(sf, n), ModuleType)]
    left.append(("scorefield.plots", plots))  # not loaded with the names at the top: it needs matplotlib
    while left:
        name, module = left.pop(0)
        if name in found or not module.__name__.startswith("scorefield"):
            continue
        found[name] = module
        left += [(f"{name}.{n}", v) for n in names(module) if isinstance(v := getattr(module, n), ModuleType)]
    return dict(sorted(found.items()))


def names(module: ModuleType) -> list[str]:
    """What of it is public: its `__all__`, or what it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = inspect.getmembers(module, lambda v: inspect.isclass(v) or inspect.isfunction(v))
    return [name for name, v in own if not name.startswith("_") and v.__module__ == module.__name__]


@functools.cache
def homes() -> dict[str, str]:
    """Of each name at the top the full name of its documentation."""
    documented = {id(getattr(m, n)): f"{p}.{n}" for p, m in packages().items() for n in names(m)}
    tops = [n for n in sorted(dir(sf)) if not isinstance(getattr(sf, n), ModuleType) and not n.startswith("_")]
    return {n: documented.get(id(getattr(sf, n)), f"scorefield.{n}") for n in tops}


def entry(full: str, thing: Any) -> str:
    """The autodoc directive of one name."""
    if inspect.isclass(thing):
        return f".. autoclass:: {full}\n   :members:\n   :show-inheritance:\n"
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f".. autofunction:: {full}\n"
    return f".. py:data:: {full}\n\n   {comment(full)}\n"


def comment(full: str) -> str:
    """What the source says before a value: its `#:` lines."""
    name = full.rpartition(".")[2]
    pattern = re.compile(rf"((?:^#: .*\n)+)^{name}\b.*=", re.MULTILINE)
    sources = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    found = next((m for text in sources if (m := pattern.search(text))), None)
    return docstrings.to_rst([found[1].replace("#: ", "").replace("\n", " ").strip()])[0] if found else ""


def pages() -> dict[str, str]:
    """The pages by file name."""
    made = {}
    for name, module in packages().items():
        parts = [f"{name}\n{'=' * len(name)}\n", f".. automodule:: {name}\n   :no-members:\n"]
        things = [(n, getattr(module, n)) for n in names(module)]
        things = [(n, v) for n, v in things if not isinstance(v, ModuleType)]
        parts += [" · ".join(f":py:obj:`{n} <{name}.{n}>`" for n, _ in things) + "\n"]
        parts += [entry(f"{name}.{n}", v) for n, v in things]
        made[f"{name}.rst"] = "\n".join(parts)
    rows = "".join(f"   * - :py:obj:`sf.{n} <{full}>`\n     - ``{full}``\n" for n, full in homes().items())
    tops = [entry(full, getattr(sf, n)) for n, full in homes().items() if full == f"scorefield.{n}"]
    toctree = ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in packages())
    table = f".. list-table::\n   :header-rows: 1\n\n   * - name\n     - stands in\n{rows}"
    made["index.rst"] = "\n".join([HEAD, table, toctree, *tops])
    return made


def write(root: Path) -> None:
    """The pages, where they are not there as they should be, so that a second build reads only what changed."""
    folder = root / "docs" / "api"
    folder.mkdir(exist_ok=True)
    made = pages()
    for path in folder.glob("*.rst"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


@functools.cache
def _texts() -> dict[str, str]:
    """Code by the page it is shown on."""
    found = {
        f"/docs/lessons/{path.stem}": path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "docs" / "course").glob("[0-9]*.py"))
    }
    for path in sorted((ROOT / "docs").glob("*.md")):
        code = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        found[f"/docs/{path.stem}"] = "\n".join(code)
    return found


def used_in(full: str) -> list[str]:
    """A line of links to the lessons and pages whose code names it."""
    parent, _, leaf = full.rpartition(".")
    top = leaf if homes().get(leaf) == full else None
    spoken = [
        rf"\b{re.escape(parent.rpartition('.')[2])}\.{leaf}\b",
        rf"from {re.escape(parent)} import [^\n]*\b{leaf}\b",
    ]
    spoken += [rf"\bsf\.{top}\b"] if top else []
    if parent.rpartition(".")[2][:1].isupper():  # a method: its class says it
        return []
    pattern = re.compile("|".join(spoken))
    pages = [page for page, text in _texts().items() if pattern.search(text)]
    return ["", "Used in " + ", ".join(f":doc:`{page}`" for page in pages) + ".", ""] if pages else []
