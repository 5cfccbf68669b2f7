"""What `infer` does: `scorefield.simulators` on files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorefield import simulators
from scorefield.cli import _results
from scorefield.cli._output import Results, at_a_terminal
from scorefield.cli._results import number
from scorefield.data import opening
from scorefield.simulators import Normal, Prior, Uniform


def infer(
    simulations: Path,
    observed: Path,
    ends: tuple[str, str, str],
    together: bool,
    samples: int,
    steps: int,
    nfe: int,
    seed: int,
    out: Results,
) -> None:
    """The posterior of each observation, or of all together."""
    pairs, y = _arrays(simulations), _arrays(observed)
    if not isinstance(pairs, dict) or not {"theta", "y"} <= set(pairs):
        raise ValueError(f"{simulations}: expected an .npz of arrays theta and y")
    seen = torch.atleast_2d(_tensor(observed, y["y"] if isinstance(y, dict) else y))
    theta, simulated = (_tensor(simulations, pairs[name]) for name in ("theta", "y"))
    prior = _prior(ends, theta.shape[-1])
    out.claim()
    start = time.perf_counter()
    learned = simulators.infer(
        prior, theta, simulated, steps=steps, seed=seed, progress=at_a_terminal() and not out.quiet
    )
    if together:
        made = learned.sample_together(seen, samples, seed=seed)[None]
    else:
        made = learned.sample(seen, samples, nfe=nfe, seed=seed)
    found = simulators.summarised(made)
    rows = [
        [
            f"theta {j + 1}" + ("" if len(made) == 1 else f" of observation {i + 1}"),
            number(float(found.mean[i, j])),
            number(float(found.std[i, j])),
            f"{number(float(found.low[i, j]))} to {number(float(found.high[i, j]))}",
        ]
        for i in range(min(len(made), 10))
        for j in range(prior.dim)
    ]
    summary: dict[str, Any] = {
        "pairs": len(theta), "observations": len(seen), "together": together, "samples": samples, "seed": seed,
        "steps": learned.step, "held_out_loss": dict(learned.held_out).get(learned.step),
        "seconds": time.perf_counter() - start, **{name: value.tolist() for name, value in found._asdict().items()},
    }  # fmt: skip
    head = [f"{samples} draws, {len(theta)} simulations", "mean", "std", "90% interval"]
    _results.write(out, _results.table(head, rows), None, {"theta": made, "y": seen}, summary)


def _arrays(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}")
    try:
        loaded = opening.arrays(path)
        return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except opening.DAMAGE:
        raise ValueError(f"{path} is no .npy or .npz of numbers") from None


def _tensor(path: Path, array: Any) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {array.dtype}, not real numbers")
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def _prior(ends: tuple[str, str, str], dim: int) -> Prior:
    kind, *texts = ends
    pair = []
    for text in texts:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise ValueError(f"the prior's ends are numbers, as in -1,0.5; got {text!r}") from None
        if len(numbers) not in (1, dim):
            raise ValueError(f"the prior must have one number for all of theta, or {dim}; got {len(numbers)}")
        pair.append(torch.tensor(numbers, dtype=torch.float64, device="cpu").expand(dim))
    return Uniform(*pair) if kind == "uniform" else Normal(*pair)
