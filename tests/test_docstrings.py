"""What a newcomer reads: a public function says what it raises."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import scorefield as sf

SOURCE = Path(sf.__file__).parent


def public(name: str) -> bool:
    return not name.startswith("_")


def modules() -> list[Path]:
    """The public ones; a command's docstring is its `--help`, and its errors are a line each."""
    paths = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return sorted(
        p for p in paths if p.parts[0] != "cli" and all(map(public, p.with_suffix("").parts[:-1])) and public(p.stem)
    )


def raised(function: ast.FunctionDef) -> set[str]:
    """The exceptions of the raise statements in the function itself, not of the functions in it."""
    found, left = set(), list(ast.iter_child_nodes(function))
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name = node.exc.func.id
            found |= {name} if name[0].isupper() else set()  # not a function that makes one
        left += ast.iter_child_nodes(node)
    return found


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """(name, function, the docstrings where its exceptions may stand): its own, and its class's."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and public(node.name):
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and public(node.name):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (public(method.name) or method.name.endswith("__")):
                    texts = (ast.get_docstring(method), ast.get_docstring(node))
                    yield f"{node.name}.{method.name}", method, "\n".join(text for text in texts if text)


def unsaid(source: str) -> list[str]:
    """What the public functions of a module raise and do not say, "function: exception"."""
    return [
        f"{name}: {error}"
        for name, function, text in functions(ast.parse(source))
        for error in sorted(raised(function))
        if not any(f"{error}:" in section for section in text.split("Raises:\n")[1:])
    ]


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_public_function_names_what_it_raises(path):
    assert unsaid((SOURCE / path).read_text(encoding="utf-8")) == []


def test_what_is_not_said_is_found():
    source = '''
def quiet(x):
    if x:
        raise ValueError(f"x must be 0; got {x}")

def loud(x):
    """Nothing.

    Raises:
        ValueError: always.
    """
    raise ValueError("x")

class Both:
    """Both.

    Raises:
        ValueError: always.
    """

    def __init__(self):
        raise ValueError("x")

    def method(self):
        """Nothing."""
        raise RuntimeError("x")

    def _private(self):
        raise KeyError("x")
'''
    assert unsaid(source) == ["quiet: ValueError", "Both.method: RuntimeError"]
