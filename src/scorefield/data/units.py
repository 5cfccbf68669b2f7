"""From the model's units back to the data's, and to what is shown of them."""

from __future__ import annotations

from torch import Tensor

from scorefield.data.transforms import Standardize, Transform, quantize


def raw(x: Tensor, transform: Transform | None) -> Tensor:
    """Model units to the data's: integers where they have levels, and what is discrete in a table."""
    if transform is None:
        return x
    if isinstance(transform, Standardize):
        return transform.quantize(x)
    continuous = transform.inverse(x)
    return continuous if transform.levels is None else quantize(continuous, transform.levels)


def unit(grey: Tensor, transform: Transform | None) -> Tensor:
    """Grey values as floats in [0, 1]: what is shown and measured."""
    assert transform is not None
    assert transform.levels is not None
    return grey.double() / (transform.levels - 1)


def shown(x_raw: Tensor, transform: Transform | None) -> Tensor:
    """What pictures are made of: grey values of pictures in [0, 1], all else in its own units."""
    return unit(x_raw, transform) if transform is not None and transform.levels is not None else x_raw
