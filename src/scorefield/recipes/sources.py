"""Data that have a name, as (what is trained on, what is held out).

Each takes `policy`, the recipe's arguments for the reader, and `data_dir`, the folder of downloaded sets; what a set
has no use for it leaves alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from scorefield import catalogue, data
from scorefield.data import Source

Pair = tuple[Source, Source | None]

SHAPE_SAMPLES = 100_000


def digits(policy: Mapping[str, Any], data_dir: Path | None) -> Pair:
    """Half of scikit-learn's 8x8 digits, and the other half."""
    parts = data.digits(**policy)
    return (
        data.Arrays(parts.train, parts.train_labels, levels=data.LEVELS, num_classes=10),
        data.Arrays(parts.test, parts.test_labels, levels=data.LEVELS, num_classes=10),
    )


def published(policy: Mapping[str, Any], data_dir: Path | None, name: str) -> Pair:
    """A set that `scorefield data fetch` downloads."""
    return data.named(name, data_dir=data_dir), data.named(name, data_dir=data_dir, split="test")


def captioned(policy: Mapping[str, Any], data_dir: Path | None) -> Pair:
    """Digits and clothes, which `data.captions` describes."""
    both = data.captions.digits_and_clothes
    return both(data_dir=data_dir), both(data_dir=data_dir, split="test")


def series(policy: Mapping[str, Any], data_dir: Path | None) -> Pair:
    """Time series of a Gaussian process."""
    return data.series(10_000, seed=1, **policy), data.series(2_000, seed=2, **policy)


def table(policy: Mapping[str, Any], data_dir: Path | None, name: Literal["wine", "breast-cancer", "diabetes"]) -> Pair:
    """A table of scikit-learn's, all of it."""
    return data.tabular(name), None


def drawn(name: str, policy: Mapping[str, Any]) -> Pair:
    """Samples of the two-dimensional law of that name."""
    law = catalogue.make("data.source", name, catalogue.SHAPES, **policy)
    draws = (law.sample(SHAPE_SAMPLES, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    first, second = (data.Arrays(x.float()) for x in draws)
    return first, second
