"""What became of samples: which have no numbers, and which left the range of the training data.

A solver that chooses its own steps leaves behind a sample whose predictions are not finite, or that does not arrive,
and says where it stood (`State.stopped`); any solver hands on a prediction that is NaN. Such a sample is NaN in all its
entries or in some, and costs the others nothing.

A network knows nothing of what lies far outside its training data, and there it extrapolates. The errors of the steps
alone carry samples a little over the edge of the range, so one has left it only where an entry lies outside by more
than `MARGIN` of its width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scorefield._caller import warn
from scorefield.solvers.adaptive import finite_rows

MARGIN = 0.1  # of the range's width: 0.2 for data in [-1, 1]


def failed(x: Tensor) -> Tensor:
    """`(B,)` bool: the samples of `x` `(B, *event)` with an entry that is not finite."""
    return ~finite_rows(x)


def escaped(x: Tensor, data_range: tuple[float, float]) -> Tensor:
    """`(B,)` bool: the samples of `x` with a finite entry outside `data_range` by more than MARGIN of its width."""
    low, high = data_range
    margin = MARGIN * (high - low)
    out = ((x < low - margin) | (x > high + margin)) & torch.isfinite(x)
    return out.reshape(len(x), x[:1].numel()).any(1)


def tell(x: Tensor, stopped: Tensor, data_range: tuple[float, float] | None, doing: str) -> None:
    """One UserWarning for the samples that failed, with where the first one `stopped` `(B,)`, one for the escapes."""
    lost = failed(x)
    if bool(lost.any()):
        first = int(lost.nonzero()[0, 0])
        t = float(stopped[first])
        where = "met a prediction that is not finite" if t != t else f"did not get on from t = {t:g}"
        way_out = "" if t != t else ". Are predictions finite there? Else raise rtol, or max_steps"
        warn(
            f"{doing}: {int(lost.sum())} of {len(x)} samples are NaN (Samples.failed); the first, number {first}, "
            f"{where}{way_out}",
        )
    if data_range is None:
        return
    out = escaped(x, data_range)
    if bool(out.any()):
        gone = x[out]
        farthest = float(gone[torch.isfinite(gone)].abs().max())
        warn(
            f"{doing}: {int(out.sum())} of {len(x)} samples left the data's range [{data_range[0]:g}, "
            f"{data_range[1]:g}], to {farthest:.3g} in size, where a network extrapolates (Samples.escaped); "
            "ClippedDenoiser, or --clip, keeps predictions inside",
        )
