"""What training is given, looked at before it begins: a mistake is one line that names the argument.

A part is known by what is asked of it, an attribute or the way it is called, not by its class: anything that can do
that much will do.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from scorefield.storage.compiled import uncompiled


class Part(NamedTuple):
    """What an argument must be."""

    what: str
    has: str = "__call__"
    places: int = 0  # positional arguments that it is called with; 0 where it is not called
    keywords: tuple[str, ...] = ()


PARTS = {
    "loss": Part("loss(denoiser, x0, t=..., generator=..., cond=...)", places=2, keywords=("t", "generator", "cond")),
    "times": Part("a law of t, such as losses.Uniform()", has="sample"),
    "weight": Part("a function weight(schedule, t), such as losses.weights.snr", places=2),
    "transform": Part("a transform of scorefield.data, such as data.Scale.to_unit_range(data)", has="dequantize"),
    "augment": Part("a function augment(x0, generator), such as data.HorizontalFlip()", places=2),
    "optimizer": Part("an optimiser of scorefield.training, such as training.AdamW()", has="build"),
    "decay": Part("a function decay(step, steps, warmup), such as training.cosine", places=3),
    "run": Part("a folder as training.Run(folder)", has="restore"),
    "on_step": Part("a function of a Progress", places=1),
    "denoiser.net": Part("a network that is called as net(x, level)", places=2),
}


def check(name: str, value: Any, keywords: Collection[str] = ()) -> None:
    """Refuses an argument that is not what its `Part` says, or is not called so, and with `keywords`.

    Raises:
        TypeError: for that.
    """
    part = PARTS[name]
    if isinstance(value, type):
        raise TypeError(f"{name} must be {part.what}; got the class {value.__name__} itself")
    if not hasattr(value, part.has):
        raise TypeError(f"{name} must be {part.what}; got {shown(value)}")
    if not part.places:
        return
    value = uncompiled(value)
    try:
        signature = inspect.signature(value.forward if isinstance(value, nn.Module) else value)
    except (TypeError, ValueError):  # written in C, some
        return
    try:
        signature.bind(*[None] * part.places, **dict.fromkeys([*part.keywords, *keywords]))
    except TypeError as error:
        raise TypeError(f"{name} must be {part.what}; {shown(value)} is called otherwise: {error}") from None


def shown(value: Any) -> str:
    """A plain value as it is, a function by its name, anything else by its class; short."""
    if value is None or isinstance(value, str | int | float | complex):
        return f"{value!r:.60}"
    return getattr(value, "__name__", type(value).__name__)


def whole(name: str, value: Any) -> int:
    """`value`, of Python, NumPy or torch, as Python's whole number; `name` is what a message calls it.

    Raises:
        TypeError: for anything else.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; got {value!r:.60}") from None


def number(name: str, value: Any) -> float:
    """`value` as Python's float.

    Raises:
        TypeError: for what is no number, a text that could be read as one among it.
    """
    try:
        read = None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError):
        read = None
    if read is None:
        raise TypeError(f"{name} must be a number; got {value!r:.60}")
    return read


def flag(name: str, value: Any) -> bool:
    """`value` as Python's bool.

    Raises:
        TypeError: for what is neither True nor False: any text would count as True.
    """
    if isinstance(value, bool | np.bool_ | int):
        return bool(value)
    raise TypeError(f"{name} must be True or False; got {shown(value)}")


def each(name: str, values: Any) -> tuple[float, ...]:
    """Several numbers.

    Raises:
        TypeError: for one alone, or what is no number.
    """
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be several numbers, such as (0.05, 0.1); got {shown(values)}")
    return tuple(number(name, value) for value in values)


def per_sample(values: Any, count: int) -> Tensor:
    """A loss, if it is one number for each of `count` samples.

    Raises:
        ValueError: if it is anything else.
    """
    if isinstance(values, Tensor) and values.shape == (count,):
        return values
    got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else shown(values)
    raise ValueError(f"loss must return a tensor of shape ({count},), a number for each sample; got {got}")
