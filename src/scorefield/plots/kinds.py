"""What is drawn of data is a matter of what kind they are, told apart here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from scorefield.plots import images, series, tables, vectors
from scorefield.plots.shown import Look, Shown

Kind = Literal["pictures", "series", "points", "table", "vectors", "other"]
LONG = 32  # numbers in a row from which a vector without names is a series

#: Samples and data `(N, *event)` in raw units, what is known of them, and what the data are called -> figures.
BESIDE: dict[Kind, Callable[[Tensor, Tensor, Look, str], list[Shown]]] = {
    "series": series.beside,
    "points": vectors.points,
    "table": tables.beside,
    "vectors": vectors.beside,
    "other": vectors.values,
}


def kind(event: Sequence[int], look: Look) -> Kind:
    """What data of shape `event` are, for who draws them."""
    event = tuple(event)
    if len(event) == 3 and event[0] in (1, 3) and look.levels is not None:
        return "pictures"
    if look.table is not None:
        return "table"
    if event == (2,):
        return "points"
    if len(event) == 2 or (len(event) == 1 and event[0] >= LONG):
        return "series"
    return "vectors" if len(event) == 1 else "other"


def beside(
    made: Tensor,
    real: Tensor,
    look: Look,
    what: str,
    *,
    asked: Tensor | None = None,
    labels: Tensor | None = None,
) -> list[Shown]:
    """Figures of samples beside data, as their kind is drawn.

    Args:
        made, real: `(N, *event)`, raw units.
        what: the data, as a sentence calls them: "held-out data of mnist".
        asked, labels: `(N,)` classes of the samples and the data, where there are any.
    """
    of = kind(made.shape[1:], look)
    if of == "pictures":
        return images.beside(made, real, look, what, asked=asked, labels=labels)
    return BESIDE[of](made, real, look, what)


def nearest(
    made: Tensor,
    pairs: Tensor,
    look: Look,
    distance: Tensor,
    reference: Tensor | None,
    what: str,
) -> Shown:
    """Samples and the training data nearest to them.

    Args:
        made: `(N, *event)` all samples, raw units.
        pairs: `(N, *event)` the nearest training datum of each.
        distance: `(N,)` between the two, model units.
        reference: `(M,)` the same of data that were held out; None where none were.
        what: "1,000 training data", among which they are the nearest.
    """
    of = kind(made.shape[1:], look)
    if of == "pictures":
        k = min(images.PAIRS, len(made))
        top = (look.levels or 2) - 1
        fig = images.neighbours(
            made[:k].double() / top, pairs[:k].double() / top, distance, reference, distances=distance[:k]
        )
        shown = (
            f"Upper row: the first {k} of {len(made):,} samples; below each the nearest of {what}, the distance above. "
        )
    elif of == "series":
        fig = series.pairs(made, pairs, distance, look)
        shown = (
            f"The first {min(series.SHOWN, len(made))} of {len(made):,} samples in red, over the nearest of {what} in "
            "grey, the distance above. "
        )
    else:
        fig, shown = (
            images.distances(distance, reference),
            f"From each of {len(made):,} samples to the nearest of {what}. ",
        )
    medians = f"The median distance is {float(distance.median()):.3g}"
    if reference is not None:
        medians += f", that of held-out data {float(reference.median()):.3g}: a model that copies has much less"
    elif of != "series":
        medians += "; nothing was held out to compare it with"
    unit = f" Root of the sum of squares over {math.prod(made.shape[1:])} numbers in the model's units."
    title = "Nearest training data"
    return Shown(title, f"{shown}{medians}.{unit}", f"Samples beside their nearest training data. {medians}.", fig)


def finite(x: Tensor) -> Tensor:
    """`(N,)` bool: which data have no NaN and no infinity."""
    return (
        torch.isfinite(x).flatten(1).all(1)
        if x.is_floating_point()
        else torch.ones(len(x), dtype=torch.bool, device=x.device)
    )
