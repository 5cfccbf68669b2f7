"""Any number of samples of a run, in a folder of shards: alone, or in as many processes as torchrun starts.

`write` does it for any results; those that belong to data, likelihoods and posteriors, are made in `runs.each`.

Sample i is a function of (model, seed, i, chunk) to the bit, `exact=True` of `sample`: pieces have exactly `chunk`
samples and each process computes in one thread, so shards are the same bytes whoever made them, in one process or in
many, at once or after any number of restarts, on machines of one kind. For more speed start more processes. Where
memory does not suffice the chunk is halved, which its shard's line in the manifest says: its samples are the same to
rounding.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scorefield.catalogue import SOLVERS, known
from scorefield.runs.drawing import captions, labels
from scorefield.runs.trained import Trained
from scorefield.storage import shards
from scorefield.storage.shards import Done, Plan

SHARD_BYTES = 64 << 20
SMALL = 64  # entries of a sample below which a piece holds many
CHUNKS = {False: 32, True: 1024}


def sized(
    n: int, numbers: int, most: int, chunk: int, what: Mapping[str, Any], *, kind: str = "npz", shard: int | None = None
) -> Plan:
    """A plan of n results of so many numbers each, in shards of some 64 MB and at most `most` results unless said.

    Raises:
        ValueError: as `Plan`.
    """
    if shard is None:
        shard = max(1, min(most, SHARD_BYTES // (4 * numbers)) // max(1, chunk)) * chunk
    return Plan(n, shard, chunk, kind, what)


def write(
    folder: Path,
    planned: Plan,
    make: shards.Make,
    *,
    warn: Callable[[str], None] = print,
    progress: Callable[[], None] | None = None,
) -> Done:
    """Makes what is missing of the shards of this process, RANK of WORLD_SIZE as torchrun says, else of all.

    In one thread, so that the bits hang on nothing but the plan and what `make` is given. What it warns of is said
    once for all shards.

    Raises:
        ValueError: for a folder in which something else is being made.
    """
    said = set[str]()

    def made(first: int, count: int, chunk: int) -> shards.Arrays:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            arrays = make(first, count, chunk)
        for line in (str(found.message) for found in caught):
            if (kind := re.sub(r"[-+\d.e]+", "", line)) not in said:
                said.add(kind)
                warn(f"of those from {first} to {first + count - 1}, said once for all: {line}")
        return arrays

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    with _one_thread():
        return shards.write(folder, planned, made, rank=rank, world=world, warn=warn, progress=progress)


def plan(
    run: Trained,
    n: int,
    *,
    kind: str = "npz",
    shard: int | None = None,
    chunk: int | None = None,
    seed: int = 0,
    nfe: int | None = None,
    solver: str | None = None,
    label: Sequence[int | str] = (),
    text: Sequence[str] = (),
    **how: Any,
) -> Plan:
    """What `sample_shards` is to make, checked before anything is made.

    Args:
        kind: "npz", or "tar" for webdataset.
        shard: samples in a file, a multiple of `chunk`; some 64 MB of numbers unless given.
        chunk: samples at a time; 32 unless given, 1,024 of vectors.
        label, text: in turn, as of `Trained.sample`.
        how: further plain values that the samples depend on (guidance, say), for the record.

    Raises:
        ValueError: for a number below 1, an unknown kind or solver, labels or captions that the model does not take.
    """
    labels(list(label), max(1, len(label)), run.num_classes, names=run.class_names)
    captions(text[:1], 1, run.meta.get("text"))
    entries = int(np.prod(run.event_shape))
    chunk = CHUNKS[entries < SMALL] if chunk is None else chunk
    what = {
        "model": run.fingerprint, "seed": seed, "nfe": nfe,
        "solver": None if solver is None else known("solver", solver, SOLVERS),
        "label": list(label), "text": list(text), **how,
    }  # fmt: skip
    return sized(n, entries, 100_000, chunk, what, kind=kind, shard=shard)


def sample_shards(
    run: Trained,
    folder: Path,
    planned: Plan,
    *,
    warn: Callable[[str], None] = print,
    progress: Callable[[], None] | None = None,
) -> Done:
    """`write`s the samples: `samples` in the data's units (bytes where those have at most 256 levels), `index`, and
    `label` where the model was told one.

    Raises:
        ValueError: for a folder in which something else is being made.
    """
    what = planned.what

    def make(first: int, count: int, chunk: int) -> dict[str, np.ndarray]:
        told: dict[str, Any] = {name: _from(what[name], first) for name in ("label", "text") if what[name]}
        drawn = run.sample(
            count, nfe=what["nfe"], solver=what["solver"], seed=what["seed"], first_index=first, tuned=False,
            exact=True, chunk=chunk, **told,
        )  # fmt: skip
        levels = None if run.transform is None else run.transform.levels
        raw = drawn.raw.numpy()
        return {
            "samples": raw.astype(np.uint8) if levels is not None and levels <= 256 else raw,
            **({} if drawn.label is None else {"label": drawn.label.numpy()}),
        }

    return write(folder, planned, make, warn=warn, progress=progress)


def _from(values: Sequence[Any], first: int) -> list[Any]:
    """What is taken in turn, from the `first` turn on."""
    return [values[(first + i) % len(values)] for i in range(len(values))]


@contextmanager
def _one_thread() -> Iterator[None]:
    """How a product is cut up depends on how many threads share it, and so do its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
