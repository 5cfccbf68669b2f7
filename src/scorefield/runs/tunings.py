"""Tuned samplers in a run folder: `tuned/nfe-8.json`, of one checkpoint's weights."""

from __future__ import annotations

import json
from pathlib import Path

from scorefield.sampling.tuning import Tuning
from scorefield.solvers import Tuned
from scorefield.storage import files


def path_of(folder: Path, nfe: int) -> Path:
    """Where the method for `nfe` evaluations lies."""
    return folder / "tuned" / f"nfe-{nfe}.json"


def write(folder: Path, nfe: int, found: Tuning, weights: str) -> Path:
    """Stores the method and what it reached on held-out noise, in one step; `weights` say whose it is."""
    path = path_of(folder, nfe)
    files.subfolder(path.parent)
    content = {
        "weights": weights,
        "held_out": {name: getattr(found, name)._asdict() for name in ("default", "tuned", "teacher")},
        "ratios": list(map(str, found.solver.ratios)),  # the first may be infinite, which JSON has no number for
        "rows": found.solver.rows,
    }
    files.replace(path, json.dumps(content, indent=1).encode())
    return path


def read(folder: Path, nfe: int) -> tuple[Tuned, str] | None:
    """(the method for `nfe` evaluations, whose weights it was tuned for), if there is one.

    Raises:
        ValueError: if the file can't be read.
    """
    path = path_of(folder, nfe)
    if not path.exists():
        return None
    try:
        content = json.loads(files.read(path))
        solver = Tuned(
            tuple(float(s) for s in content["ratios"]), tuple(tuple(float(r) for r in row) for row in content["rows"])
        )
        return solver, content["weights"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} can't be read ({error}): remove it or tune again") from None
