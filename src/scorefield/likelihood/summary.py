"""The likelihood of many data in one account: what each is worth, the mean, and how far off either may be.

`per_datum` gives a number for each: bits per dimension where data are integers, else log p in nats, in the units of
the data (of a table's row: of its mass, in what is discrete, times its density); beside it the parts of its error and
the ELBO. `over_data` makes one line of them. The mean m over n data
drawn from a law is off by their spread, which the noise of probes and draws is part of, and by what the solver and the
ends of the integral may be off by, which does not average out:

    stderr^2 = spread^2 / n + solver^2 + truncation^2,        the 95% interval  m +- t_{n-1} stderr.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from scorefield.data import Source, Transform
from scorefield.denoisers import Denoiser
from scorefield.likelihood.bits import bits_per_dim, dequantized
from scorefield.likelihood.bound import Elbo, elbo
from scorefield.likelihood.density import log_prob
from scorefield.randomness import Stream

EXACT_UP_TO = 16  # dimensions, where nothing else is asked for
PROBES = 8
CHUNK = 64


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    Args:
        probes: of the divergence; none takes all of it.
        tolerance: of the solver, nats for each dimension.
        draws: of dequantisation noise, for integers.
        elbo_draws: evaluations for the bound; even.
        seed: of all noise; datum i of those scored has index i.
    """

    probes: int | None = None
    tolerance: float = 1e-3
    draws: int = 1
    elbo_draws: int = 32
    seed: int = 0


def default_probes(dims: int) -> int | None:
    """The exact divergence where an event has few numbers, else what leaves its error below that of the data."""
    return None if dims <= EXACT_UP_TO else PROBES


def per_datum(
    denoiser: Denoiser,
    source: Source,
    rows: Tensor,
    effort: Effort,
    *,
    transform: Transform | None = None,
    first_index: int = 0,
    chunk: int = CHUNK,
    on_chunk: Callable[[int], object] | None = None,
) -> dict[str, Tensor]:
    """Each `(N,)`, of the data at `rows`: `bits_per_dim` or `log_prob`, `probe`, `solver`, `truncation`, the ELBO.

    The parts are in the units of the number they belong to. `importance_weighted` is there where it can be (several
    draws, the exact divergence). Of the data's conditions the denoiser is told those that its network takes.

    Args:
        transform: the one the model was trained through.
        first_index: the noise of datum i of `rows` is a function of (seed, first_index + i) alone.
        chunk: data at a time.
        on_chunk: told how many more are done.

    Raises:
        ValueError: as `bits_per_dim`, `log_prob` and `elbo`.
    """
    device = next(denoiser.parameters()).device
    takes = getattr(getattr(denoiser, "net", None), "conditions", ())
    parts: list[dict[str, Tensor]] = []
    for first in range(0, len(rows), chunk):
        x, cond = source.batch(rows[first : first + chunk])
        told = {name: value.to(device) for name, value in cond.items() if name in takes}
        part = _part(denoiser, x.to(device), told, first_index + first, effort, transform)
        parts.append({name: value.cpu() for name, value in part.items()})
        if on_chunk is not None:
            on_chunk(len(x))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _part(
    denoiser: Denoiser, x: Tensor, cond: dict[str, Tensor], first: int, effort: Effort, transform: Transform | None
) -> dict[str, Tensor]:
    common: dict[str, Any] = {"seed": effort.seed, "first_index": first, "cond": cond}
    solved: dict[str, Any] = {"probes": effort.probes, "tolerance": effort.tolerance, **common}
    bounded: dict[str, Any] = {"draws": effort.elbo_draws, "transform": transform, **common}
    if transform is None or transform.levels is None:
        table, x, width = getattr(transform, "table", None), x.float(), 0.0
        if table is not None:
            index = torch.arange(first, first + len(x), device=x.device)
            x, width = table.noised(x, Stream(effort.seed, index)), table.log_width
        r = log_prob(denoiser, x, transform=transform, **solved)
        bound = _bound(denoiser, x, bounded)
        return {
            "log_prob": r.log_prob + width,
            "probe": r.probe,
            "solver": r.solver,
            "truncation": r.truncation,
            "elbo": bound.elbo + width,
            "elbo_stderr": bound.stderr,
            "evaluations": r.evaluations,
        }
    r = bits_per_dim(denoiser, x, transform, draws=effort.draws, **solved)
    index = torch.arange(first, first + len(x), device=x.device)
    bound = _bound(denoiser, dequantized(x, effort.seed, index), bounded)
    unit = math.prod(x.shape[1:]) * math.log(2)
    return {
        "bits_per_dim": r.bits,
        "probe": r.probe,
        "solver": r.solver,
        "truncation": r.truncation,
        **({} if r.importance_weighted is None else {"importance_weighted": r.importance_weighted}),
        "elbo": -bound.elbo / unit,
        "elbo_stderr": bound.stderr / unit,
        "evaluations": r.evaluations,
    }


def _bound(denoiser: Denoiser, x: Tensor, bounded: dict[str, Any]) -> Elbo:
    """NaN where there is none, for a flow."""
    if "score" in denoiser.lacks:
        return Elbo(*(torch.full((len(x),), math.nan, dtype=torch.float64, device=x.device) for _ in range(2)))
    return elbo(denoiser, x, **bounded)


def over_data(scored: dict[str, Tensor], dims: int) -> dict[str, Any]:
    """The mean over the data and its 95% interval, per dimension, each part of the error, the ELBO, the evaluations.

    What cannot be known (a spread of one datum, the error of one probe, the ELBO of a flow) is None.

    Args:
        scored: of `per_datum`.
        dims: numbers in an event.
    """
    bits = "bits_per_dim" in scored
    key, unit = ("bits_per_dim", 1) if bits else ("log_prob", dims)
    values = {name: v.double() / (1 if name == "evaluations" else unit) for name, v in scored.items()}
    n = len(values[key])
    known = {name: float(values[name].mean()) for name in ("solver", "truncation")}
    spread, centre = _stderr(values[key]), float(values[key].mean())
    stderr = math.sqrt(spread**2 + known["solver"] ** 2 + known["truncation"] ** 2)
    half = float(stats.t.ppf(0.975, max(n - 1, 1))) * stderr
    found = {
        "unit": "bits per dimension" if bits else "nats per dimension",
        "mean": centre,
        "low": centre - half,
        "high": centre + half,
        "spread": spread,
        "probe": float(values["probe"].square().mean().sqrt()) / math.sqrt(n),
        **known,
        "elbo": float(values["elbo"].mean()),
        "elbo_stderr": _stderr(values["elbo"]),
        "evaluations": float(values["evaluations"].mean()),
        "evaluations_most": int(values["evaluations"].max()),
        "n": n,
    }
    if "importance_weighted" in values:
        found["importance_weighted"] = float(values["importance_weighted"].mean())
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def _stderr(values: Tensor) -> float:
    """Of the mean of `(N,)` values; NaN for one."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
