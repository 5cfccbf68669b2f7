import ast
import subprocess
import sys
from pathlib import Path

import scorefield as sf

SOURCE = Path(sf.__file__).parent

# Who may import whom, lowest first: a module imports only from rows above its own (or its own row).
LAYERS = [
    {"schedules", "randomness", "distributions", "particles"},
    {"parameterizations", "grids"},
    {"denoisers", "networks", "data", "patches"},
    {"solvers", "losses", "guidance", "metrics", "text", "latent_space"},
    {"sampling", "likelihood"},
    {"latents", "editing", "anomaly", "checks", "inverse", "distill", "training", "plots", "tuning"},
    {"recipes", "interop"},
    {"cli", "playground", "__main__"},
]


def test_every_public_name_loads():
    for name in dir(sf):
        assert getattr(sf, name) is not None


def test_importing_the_package_does_not_load_torch():
    code = "import sys, scorefield; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dependencies_point_one_way():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("scorefield"):
                parts = node.module.split(".")[1:2] or [alias.name for alias in node.names]
                for name in parts:
                    assert rank.get(name, 0) <= rank[own], (
                        f"{path.relative_to(SOURCE)} imports {name}, which is above it"
                    )
