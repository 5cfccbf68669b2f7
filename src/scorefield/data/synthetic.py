"""Small sets without a file: a series whose law is known exactly, and scikit-learn's embedded tables."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from scorefield.data._columns import Label
from scorefield.data.sources import Arrays
from scorefield.data.tables import from_frame
from scorefield.distributions import Gaussian
from scorefield.randomness import Noise

Table = Literal["wine", "breast-cancer", "diabetes"]

_ROWS = 4096  # drawn at a time


def series(n: int, length: int = 64, seed: int = 0, *, width: float = 0.1, noise: float = 0.1) -> Arrays:
    """`n` draws of a Gaussian process at `length` times in [0, 1], events (1, length), from the law of `series_law`.

    Series i depends on the seed and i alone: fewer series are the first of more.

    Raises:
        ValueError: for less than one series, a length below 2, or a width or noise that is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    mean, covariance = _series_moments(length, width, noise)
    factor = torch.linalg.cholesky(covariance)
    x = torch.empty(n, 1, length, device="cpu")
    for rows in torch.arange(n, device="cpu").split(_ROWS):
        z = Noise(seed, rows, (length,), torch.float64).normal(0)
        x[rows, 0] = torch.stack([mean + factor @ row for row in z]).float()  # row by row: i does not see its batch
    return Arrays(x)


def series_law(length: int = 64, *, width: float = 0.1, noise: float = 0.1) -> Gaussian:
    """The exact law of a flattened datum of `series`, on (length,).

        y(s) = sin(2 pi s) + f(s) + noise e,   Cov[f(s), f(u)] = exp(-(s - u)^2 / (2 width^2)),   e ~ N(0, 1)

    so the score, the denoiser and the likelihood of a model trained on it are known at every noise level.

    Args:
        length: times s_j = j / (length - 1).
        width: of the kernel, in units of the whole series.
        noise: standard deviation of what is not smooth; positive, so that the covariance is.

    Raises:
        ValueError: for a length below 2, or a width or noise that is not positive.

    References:
        Rasmussen & Williams 2006, Gaussian processes for machine learning, ch. 2 and 4.
    """
    return Gaussian(*_series_moments(length, width, noise))


def _series_moments(length: int, width: float, noise: float) -> tuple[Tensor, Tensor]:
    if length < 2:
        raise ValueError(f"length must be at least 2; got {length}")
    if not (0 < width < math.inf and 0 < noise < math.inf):
        raise ValueError(f"width and noise must be positive; got {width} and {noise}")
    s = torch.linspace(0, 1, length, dtype=torch.float64, device="cpu")
    kernel = torch.exp(-(((s[:, None] - s) / width) ** 2) / 2)
    return torch.sin(2 * math.pi * s), kernel + noise**2 * torch.eye(length, dtype=torch.float64, device="cpu")


def tabular(name: Table = "wine") -> Arrays:
    """A real table that comes with scikit-learn: raw units, named columns.

    "wine": 178 x 13, chemistry of three cultivars, with their label. "breast-cancer": 569 x 30, cell nuclei, with their
    label. "diabetes": 442 x 10, with cond["target"], (N, 1), the progression after a year.

    Raises:
        ValueError: for another name.
    """
    from sklearn import datasets

    loaders = {
        "wine": datasets.load_wine,
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": partial(datasets.load_diabetes, scaled=False),
    }
    if name not in loaders:
        raise ValueError(f"name must be one of {', '.join(get_args(Table))}; got {name!r}")
    table = loaders[name](as_frame=True)
    plain, target = from_frame(table.data, label=""), torch.from_numpy(table.target.to_numpy(copy=True))
    schema = plain.table
    assert schema is not None
    if "target_names" not in table:
        cond = {"target": target.float()[:, None]}
        return Arrays(plain.x, cond=cond, columns=plain.columns, table=schema, said=(f"{name}: {schema}",))
    counts = tuple(torch.bincount(target).tolist())
    label = Label("target", "int64", tuple(range(len(counts))), counts)
    schema = replace(schema, label=label, order=(*schema.order, "target"))
    names, said = tuple(map(str, table.target_names)), (f"{name}: {len(target)} rows; {schema}",)
    return Arrays(plain.x, target, class_names=names, columns=plain.columns, table=schema, said=said)
