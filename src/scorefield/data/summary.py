"""What a set of data holds, raw and as a model would see it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from scorefield.data._moments import moments
from scorefield.data.images import ImageFolder
from scorefield.data.sources import Arrays, Source
from scorefield.data.transforms import Scale


class Summary(NamedTuple):
    """Of a source."""

    count: int
    dtype: torch.dtype  # of what it gives
    low: float
    high: float
    mean: float  # raw
    std: float
    in_model: tuple[float, float]  # mean and std in a model's units: grey values in [-1, 1), all else standardised
    classes: list[tuple[str, int]]  # names, and how many of each
    conditions: dict[str, tuple[int, ...]]  # besides the label: the shape of one
    columns: list[tuple[str, list[float]]]  # of a table: names, and mean, std, lowest and highest of each


def summarize(source: Source) -> Summary:
    """Reads all of `source`, in chunks."""
    first, m = source.batch(torch.arange(1, device="cpu")), moments(source)
    transform = None if source.levels is None else Scale.to_unit_range(source)
    return Summary(
        len(source),
        first.x.dtype,
        float(m.low),
        float(m.high),
        float(m.mean),
        math.sqrt(float(m.var)),
        (0.0, 1.0) if transform is None else (transform.mean, transform.sigma_data),
        [] if source.num_classes is None else _classes(source, source.num_classes),
        {name: tuple(value.shape[1:]) for name, value in first.cond.items() if name != "label"},
        _columns(source),
    )


def _classes(source: Source, classes: int) -> list[tuple[str, int]]:
    if isinstance(source, Arrays | ImageFolder):  # without decoding a picture
        labels = source.cond["label"]
    else:
        labels = torch.cat(
            [source.batch(rows).cond["label"] for rows in torch.arange(len(source), device="cpu").split(1024)]
        )
    names = getattr(source, "class_names", ()) or [str(c) for c in range(classes)]
    return list(zip(names, torch.bincount(labels, minlength=classes).tolist(), strict=True))


def _columns(source: Source) -> list[tuple[str, list[float]]]:
    columns = getattr(source, "columns", ())
    if not columns:
        return []
    m = moments(source, per_entry=True)
    return list(zip(columns, torch.stack([m.mean, m.var.sqrt(), m.low, m.high], 1).tolist(), strict=True))
