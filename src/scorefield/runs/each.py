"""What a run says of each of many data, for `many.write` to make shards of: their likelihoods, their posteriors.

    many.write(folder, each.likelihood_plan(run, source, rows, effort), each.likelihoods(run, source, rows, effort))

Result i is that of datum `rows[i]`, its noise a function of (seed, i): alone or among others it is the same, to
rounding. To the bit it is a function of the plan too. Likelihoods are computed `chunk` at a time, from multiples of the
chunk on, and a network's products add in an order that their number chooses; samples of a posterior are `exact`, so
`chunk` at a time of one observation, but what they are of was measured a shard at a time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from scorefield import inverse
from scorefield.data import Source
from scorefield.inverse import GaussianNoise, Method, Units
from scorefield.inverse.summary import each as of_each
from scorefield.likelihood import Effort, per_datum
from scorefield.runs import many
from scorefield.runs.trained import Trained
from scorefield.storage.shards import Arrays, Make, Plan
from scorefield.training import fingerprint

CHUNK = 64  # likelihoods at a time
MOST = 1024  # results in a shard, since each takes long
DIGITS = 9  # of the means that continuous data are known by: their last bits are the machine's


class Measured(NamedTuple):
    """Some observations in the user's units, and what they are of where that is known."""

    likelihood: GaussianNoise
    truth: Tensor | None = None  # (N, *event)


def data_hash(source: Source) -> str:
    """What tells data from others of the same shape, in 16 digits: see `training.fingerprint`."""
    known: dict[str, Any] = {"n": len(source), "shape": list(source.event_shape), "levels": source.levels}
    for name, value in fingerprint.of(source).items():
        known[name] = value if isinstance(value, str) else [f"{mean:.{DIGITS}f}" for mean in value]
    return hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=8).hexdigest()


def likelihood_plan(
    run: Trained,
    source: Source,
    rows: Tensor,
    effort: Effort,
    *,
    kind: str = "npz",
    shard: int | None = None,
    chunk: int | None = None,
) -> Plan:
    """What `likelihoods` is to make, at most 1,024 in a shard and 64 at a time unless said.

    Raises:
        ValueError: as `shards.Plan`.
    """
    what = {"result": "likelihood", "model": run.fingerprint, "data": data_hash(source), **asdict(effort)}
    chunk = chunk or min(CHUNK, shard or CHUNK)
    return many.sized(len(rows), 8, MOST, chunk, what, kind=kind, shard=shard)


def likelihoods(run: Trained, source: Source, rows: Tensor, effort: Effort) -> Make:
    """The arrays of `per_datum` as float64 `(count,)`, and the data's own `row`."""

    def make(first: int, count: int, chunk: int) -> Arrays:
        own = rows[first : first + count]
        scored = per_datum(run.denoiser, source, own, effort, transform=run.transform, first_index=first, chunk=chunk)
        return {name: value.numpy() for name, value in {"row": own, **scored}.items()}

    return make


def posterior_plan(
    run: Trained,
    n: int,
    numbers: int,
    what: Mapping[str, Any],
    *,
    samples: int,
    kind: str = "npz",
    shard: int | None = None,
    chunk: int | None = None,
) -> Plan:
    """What `posteriors` is to make of n observations of so many `numbers`; `what` says which, in plain values.

    Args:
        chunk: samples of one observation at a time, rounded up to whole systems of particles; 32, or as many as there
            are of each, unless given.

    Raises:
        ValueError: as `shards.Plan`.
    """
    chunk = chunk or min(samples, many.CHUNKS[False], shard or samples)
    held = math.prod(run.event_shape) * (samples + 5) + numbers
    what = {"result": "posterior", "model": run.fingerprint, "samples": samples, **what}
    return many.sized(n, held, MOST, chunk, what, kind=kind, shard=shard)


def posteriors(
    run: Trained,
    measured: Callable[[Tensor], Measured],
    rows: Tensor,
    *,
    samples: int,
    nfe: int,
    method: str | Method | None = None,
    label: Tensor | None = None,
    seed: int = 0,
    level: float = 0.9,
    data_dir: Path | None = None,
) -> Make:
    """Of each observation its `samples`, their `mean`, `std` and interval `low`, `high`, `y`, `truth`, and its numbers.

    Values are float32 in the user's units; `chi2` `(count, samples)` and what `inverse.quality` takes means of are
    float64.

    Args:
        measured: the observations of some rows `(n,)`.
        rows: `(N,)`, which.
        label: `(N,)`, the classes to ask for.
        samples, nfe, method, seed, data_dir: as of `Trained.posterior` and its `sample`.
        level: of the intervals.
    """
    units = Units.of(run.transform)

    @functools.cache
    def settled() -> Method:  # once, since it may be measured on data
        one = units.in_model(measured(rows[:1]).likelihood)
        return run.posterior(one, method, seed=seed, data_dir=data_dir).method  # type: ignore[arg-type]

    def make(first: int, count: int, chunk: int) -> Arrays:
        here = slice(first, first + count)
        given = measured(rows[here])
        posterior = inverse.condition(
            run.denoiser,
            units.in_model(given.likelihood),
            settled(),
            cond={} if label is None else {"label": label[here].to(run.device)},
        )
        dtype = next(run.denoiser.parameters()).dtype
        made = posterior.sample(samples, nfe=nfe, seed=seed, first_index=first, exact=True, chunk=chunk, dtype=dtype)
        x = units.of_model(made.x).cpu()
        found = inverse.moments(made, x, level)
        values = {"samples": x, **found._asdict(), "y": given.likelihood.y, "truth": given.truth}
        numbers = {"chi2": made.chi2, **of_each(made, x, given.likelihood, found, given.truth), "row": rows[here]}
        return {
            **{name: v.cpu().numpy().astype(np.float32) for name, v in values.items() if v is not None},
            **{name: _plain(v) for name, v in numbers.items() if v is not None},
        }

    return make


def means(numbers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Over all results, of what `shards.numbers` finds of posteriors."""
    return {name: float(value.mean()) for name, value in numbers.items() if name not in ("index", "row")}


def _plain(value: Tensor) -> np.ndarray:
    array = value.cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array
