import ast
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
    {"schedules", "randomness", "distributions", "particles", "conditions", "_renamed"},
    {"parameterizations", "grids"},
    {"denoisers", "networks", "data"},
    {"solvers", "losses", "guidance", "metrics"},
    {"sampling", "likelihood"},
    {"bijection", "anomaly", "checks", "inverse", "plots", "storage"},
    {"training"},
    {"recipes", "interop"},
    {"runs"},
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


def test_no_file_is_longer_than_a_newcomer_can_hold():
    assert [p.name for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_a_renamed_public_name_still_works_and_says_so():
    with pytest.warns(DeprecationWarning, match=r"inverse\.Gaussian is GaussianNoise now"):
        assert sf.inverse.Gaussian is sf.inverse.GaussianNoise
