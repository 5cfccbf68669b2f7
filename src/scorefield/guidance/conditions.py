"""One model under several conditions at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.schedules import as_time

Condition = Mapping[str, Any] | None
"""Keyword arguments of a denoiser; None is no condition."""


def predictions(denoiser: Denoiser, x_t: Tensor, t: Tensor | float, conditions: Sequence[Condition]) -> list[Tensor]:
    """E[x0 | x_t, c] for each of the `conditions`, each of the shape of `x_t` `(B, *event)`.

    A network that takes `null` (see `networks.conditioning`) is called once with a batch of n B; anything else n times.
    """
    joined = _joined(denoiser, conditions, x_t)
    if joined is None:
        return [denoiser(x_t, t, **(c or {})) for c in conditions]
    n, t = len(conditions), as_time(t)
    out = denoiser(torch.cat([x_t] * n), t.repeat(n) if t.ndim else t, **joined)
    return list(out.reshape(n, *x_t.shape).unbind())


def for_all(values: Mapping[str, Any], x_t: Tensor) -> dict[str, Tensor]:
    """Conditions of one sample, given to every sample: an integer `()` becomes `(B,)`, a vector `(k,)` `(B, k)`."""
    tensors = {name: torch.as_tensor(value).to(x_t.device) for name, value in values.items()}
    return {name: value.expand(len(x_t), *value.shape) for name, value in tensors.items()}


def _joined(denoiser: Denoiser, conditions: Sequence[Condition], x_t: Tensor) -> dict[str, Tensor] | None:
    """The conditions of a batch of n B, or None where they can't be one."""
    given = [c for c in conditions if c]
    if len(conditions) < 2 or not given or not getattr(getattr(denoiser, "net", None), "conditions", ()):
        return None
    first, batch = given[0], len(x_t)
    for c in given:
        for name in {**first, **c}:
            one, other = first.get(name), c.get(name)
            if not isinstance(one, Tensor) or not isinstance(other, Tensor):
                return None
            if one.shape != other.shape or one.shape[:1] != (batch,):
                return None
    no = torch.zeros(batch, dtype=torch.bool, device=x_t.device)
    null = [~no if not c else c.get("null", no) for c in conditions]
    joined = {name: torch.cat([(c or first)[name] for c in conditions]) for name in first}
    return {**joined, "null": torch.cat(null)}
