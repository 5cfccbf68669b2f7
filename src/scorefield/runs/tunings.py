"""Tuned samplers in a run folder: `tuned/nfe-8.json`, of one checkpoint's weights.

A file holds a method of its own (what `tune` fitted, `ratios` and `rows`) or the name of one (`solver`, what `choose`
chose).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from scorefield.catalogue import SOLVERS, make
from scorefield.sampling.tuning import Tuning
from scorefield.solvers import Solver, Tuned
from scorefield.storage import files


class Choice(NamedTuple):
    """What `choose` found."""

    solver: str | None  # its name; None: the default
    distance: dict[str, float]  # Frechet, of each solver's samples to the data
    gain: dict[str, tuple[float, float]]  # over the default, and its standard error
    data: str  # what they were judged by
    n: int  # samples of each

    @property
    def helps(self) -> bool:
        """Whether another solver than the default was chosen."""
        return self.solver is not None


def path_of(folder: Path, nfe: int) -> Path:
    """Where the method for `nfe` evaluations lies."""
    return folder / "tuned" / f"nfe-{nfe}.json"


def write(folder: Path, nfe: int, found: Tuning | Choice, weights: str) -> Path:
    """Stores the method and what it reached, in one step, over any other of `nfe`; `weights` say whose it is."""
    path = path_of(folder, nfe)
    files.subfolder(path.parent)
    content: dict[str, Any] = {"weights": weights}
    if isinstance(found, Choice):
        content |= found._asdict()
    else:
        content |= {
            "held_out": {name: getattr(found, name)._asdict() for name in ("default", "tuned", "teacher")},
            "ratios": list(map(str, found.solver.ratios)),  # the first may be infinite, which JSON has no number for
            "rows": found.solver.rows,
        }
    files.replace(path, json.dumps(content, indent=1).encode())
    return path


def read(folder: Path, nfe: int) -> tuple[Solver, str] | None:
    """(the method for `nfe` evaluations, whose weights it was tuned for), if there is one.

    Raises:
        ValueError: if the file can't be read.
    """
    path = path_of(folder, nfe)
    if not path.exists():
        return None
    try:
        content = json.loads(files.read(path))
        if "solver" in content:
            return make("solver", content["solver"], SOLVERS), content["weights"]
        solver = Tuned(
            tuple(float(s) for s in content["ratios"]), tuple(tuple(float(r) for r in row) for row in content["rows"])
        )
        return solver, content["weights"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} can't be read ({error}): remove it or tune again") from None
