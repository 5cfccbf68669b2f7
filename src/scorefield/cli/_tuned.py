"""Tuned samplers in a run folder: `tuned/nfe-8.json`, of one checkpoint's weights."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from scorefield.sampling.tuning import Tuning
from scorefield.solvers import Tuned
from scorefield.storage import checkpoints, models


def weights_of(run: Path) -> str:
    """sha256 of the averaged weights that `sample` would use, or of a checkpoint file."""
    if run.is_file():
        return hashlib.sha256(run.read_bytes()).hexdigest()
    newest = checkpoints.latest(run / "checkpoints", lambda line: None)
    if newest is None:
        raise FileNotFoundError(f"no checkpoint in {run / 'checkpoints'}")
    return hashlib.sha256((newest / "ema.safetensors").read_bytes()).hexdigest()


def path_of(run: Path, nfe: int) -> Path:
    return run / "tuned" / f"nfe-{nfe}.json"


def write(run: Path, nfe: int, found: Tuning) -> Path:
    """Stores the method and what it reached on held-out noise, in one step."""
    path = path_of(run, nfe)
    path.parent.mkdir(exist_ok=True)
    content = {
        "weights": weights_of(run),
        "held_out": {name: getattr(found, name)._asdict() for name in ("default", "tuned", "teacher")},
        "ratios": list(map(str, found.solver.ratios)),  # the first may be infinite, which JSON has no number for
        "rows": found.solver.rows,
    }
    models.replace(path, json.dumps(content, indent=1).encode())
    return path


def read(run: Path, nfe: int) -> Tuned | None:
    """The run's method for `nfe` evaluations; None, and a line why, if it was tuned for other weights.

    Raises:
        ValueError: if the file can't be read.
    """
    path = path_of(run, nfe)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        solver = Tuned(
            tuple(float(s) for s in content["ratios"]), tuple(tuple(float(r) for r in row) for row in content["rows"])
        )
        weights = content["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read ({error}): remove it or tune again") from None
    if weights != weights_of(run):
        print(f"note: {path} was tuned for other weights and is left aside; tune again", file=sys.stderr)
        return None
    return solver
