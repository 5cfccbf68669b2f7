"""Pictures between a run and the page: bytes `(..., height, width, channels)`, 0 black and 255 white."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorefield.data import units
from scorefield.denoisers import Denoiser
from scorefield.runs import Trained
from scorefield.schedules import pad_right

Array = np.ndarray[Any, Any]


def levels(run: Trained) -> int:
    """Grey values, from 0."""
    assert run.transform is not None
    assert run.transform.levels is not None
    return run.transform.levels


def unit(raw: Tensor, run: Trained) -> Tensor:
    """Raw data from 0 to 1."""
    return units.unit(raw, run.transform)


def standardised(denoiser: Denoiser, x_t: Tensor, t: Tensor) -> Tensor:
    """x_t with the mean and the standard deviation of the data, as whose noise it can be seen at every level."""
    mean, std = denoiser.prior(t)
    mean = mean.to(x_t) if isinstance(mean, Tensor) else mean
    own = denoiser.data_mean
    z = (x_t - mean) / pad_right(torch.as_tensor(std), x_t).to(x_t)
    return z * denoiser.data_std + (own.to(x_t) if isinstance(own, Tensor) else own)


def of_unit(v: Tensor) -> Array:
    """`(..., C, H, W)` from 0 to 1, as bytes `(..., H, W, C)`."""
    grey = (255 * v.double().nan_to_num().clamp(0, 1)).round().to(torch.uint8)
    return grey.movedim(-3, -1).cpu().contiguous().numpy()


def of_raw(raw: Tensor, run: Trained) -> Array:
    """Raw data as bytes."""
    return of_unit(unit(raw, run))


def of_model(x: Tensor, run: Trained) -> Array:
    """The model's units as bytes."""
    return of_raw(units.raw(x.nan_to_num().cpu(), run.transform), run)


def decoded(text: str, shape: tuple[int, ...], what: str) -> Array:
    """Bytes of that shape, from base64; `what` is what a message calls them.

    Raises:
        ValueError: for others.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{what} must be bytes in base64") from None
    if len(raw) != math.prod(shape):
        raise ValueError(f"{what} must have {math.prod(shape)} bytes, {' x '.join(map(str, shape))}; got {len(raw)}")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def raw_of(picture: str, run: Trained) -> Tensor:
    """`(1, *event)` int64, the nearest grey values to bytes in base64."""
    c, h, w = run.event_shape
    values = torch.from_numpy(decoded(picture, (h, w, c), "picture").copy()).double()
    return (values * (levels(run) - 1) / 255).round().long().movedim(-1, 0)[None]
