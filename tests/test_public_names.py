import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import scorefield as sf

SOURCE = Path(sf.__file__).parent

# Who may import whom, lowest first: a module imports only from rows above its own (or its own row).
LAYERS = [
    {"_caller", "_origin", "_renamed"},
    {"catalogue", "conditions", "schedules", "randomness", "distributions", "particles", "tensors", "forward_mode"},
    {"parameterizations", "grids"},
    {"denoisers", "networks", "data"},
    {"solvers", "losses", "guidance", "metrics", "flowmaps"},
    {"sampling", "likelihood"},
    {"bijection", "anomaly", "auditing", "diagnostics", "evaluation", "inverse", "plots", "storage"},
    {"training"},
    {"baselines", "checks", "simulators"},
    {"recipes", "interop"},
    {"runs"},
    {"citing"},
    {"demos", "play", "comparison"},
    {"cli", "__main__"},
]


def test_every_public_name_loads():
    for name in dir(sf):
        assert getattr(sf, name) is not None


def test_importing_the_package_does_not_load_torch():
    code = "import sys, scorefield; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def imports(path: Path) -> set[Path]:
    """The package's own files that the one at `path` imports, wherever in it and for whatever it is."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "scorefield":
            assert node.module
            module = SOURCE.joinpath(*node.module.split(".")[1:])
            for alias in node.names:
                places = (module / f"{alias.name}.py", module / alias.name / "__init__.py", module.with_suffix(".py"))
                found.add(next((p for p in places if p.is_file()), module / "__init__.py"))
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def test_dependencies_point_one_way():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer} | {"__init__": -1}
    for path in FILES:
        own = path.relative_to(SOURCE).with_suffix("").parts[0]
        for other in imports(path):
            name = other.relative_to(SOURCE).with_suffix("").parts[0]
            assert rank[name] <= rank[own], f"{path.relative_to(SOURCE)} imports {name}, which is above it"


def test_no_files_import_each_other_in_a_circle():
    number = {path: i for i, path in enumerate(FILES)}
    pairs = [(number[path], number[other]) for path in FILES for other in imports(path)]
    graph = coo_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(len(FILES),) * 2)
    count, labels = connected_components(graph, directed=True, connection="strong")
    circles = [[str(p.relative_to(SOURCE)) for p in FILES if labels[number[p]] == k] for k in range(count)]
    assert [c for c in circles if len(c) > 1] == []


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def private_imports(code: str) -> list[str]:
    """What of the library `code` imports that has a part with an underscore before it."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    ours = [name.split(".") for name in names if name.split(".")[0] == "scorefield"]
    return [".".join(parts) for parts in ours if any(p.startswith("_") and not p.startswith("__") for p in parts)]


def test_private_imports_are_seen():
    code = "def f():\n    from scorefield.cli._inputs import chosen\nimport scorefield._renamed, _mnist\n"
    assert private_imports(code) == ["scorefield._renamed", "scorefield.cli._inputs.chosen"]
    assert private_imports("from scorefield.cli import _inputs\nfrom scorefield import __version__") == [
        "scorefield.cli._inputs"
    ]


def test_benchmarks_examples_and_pages_import_nothing_private():
    found = {}
    for path in sorted([*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]):
        found[path.name] = private_imports(path.read_text(encoding="utf-8"))
    for page in PAGES:
        for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            found[f"{page.name}-{i}"] = private_imports(code)
    assert {name: imported for name, imported in found.items() if imported} == {}
    assert len(found) > 30


STATISTICS = {
    "mean", "std", "var", "median", "quantile", "square", "sqrt", "log", "exp", "norm", "bincount", "histogram",
    "cdist",
}  # fmt: skip
PARTS = {"schedules", "parameterizations", "denoisers", "networks", "distributions", "guidance", "losses", "metrics"}


@pytest.mark.parametrize("path", sorted((SOURCE / "cli").rglob("*.py")), ids=lambda p: p.name)
def test_the_command_line_computes_no_statistics_and_builds_no_models(path):
    """It parses, prints and says where files go; what it says is computed in the library."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    assert called & STATISTICS == set()
    parts = {other.relative_to(SOURCE).with_suffix("").parts[0] for other in imports(path)} & PARTS
    assert parts <= {"denoisers"}  # the type of what a run has
    assert "scipy" not in {m for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for m in [n.module]}


def test_no_file_is_longer_than_a_newcomer_can_hold():
    assert [p.name for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_a_renamed_public_name_still_works_and_says_so():
    with pytest.warns(DeprecationWarning, match=r"inverse\.Gaussian is GaussianNoise now"):
        assert sf.inverse.Gaussian is sf.inverse.GaussianNoise
