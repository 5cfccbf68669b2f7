"""One model under several conditions at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import for_each, of_samples, shared
from scorefield.denoisers import Denoiser
from scorefield.schedules import as_time


def predictions(
    denoiser: Denoiser, x_t: Tensor, t: Tensor | float, conditions: Sequence[Mapping[str, Any] | None]
) -> list[Tensor]:
    """E[x0 | x_t, c] for each of the `conditions`, each of the shape of `x_t` `(B, *event)`; None is no condition.

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
    return {name: for_each(name, shared(value), x_t) for name, value in values.items()}


def _joined(denoiser: Denoiser, conditions: Sequence[Mapping[str, Any] | None], x_t: Tensor) -> dict[str, Any] | None:
    """The conditions of a batch of n B, or None where they can't be one."""
    given = [c for c in conditions if c]
    if len(conditions) < 2 or not given or not getattr(getattr(denoiser, "net", None), "conditions", ()):
        return None
    first, batch, joined = given[0], len(x_t), {}
    if any(set(c) != set(first) for c in given):
        return None
    for name, value in first.items():
        values = [(c or first)[name] for c in conditions]  # a term without conditions is null, whatever else it is told
        if not of_samples(value) and all(v is value for v in values):
            joined[name] = value
            continue
        if not all(isinstance(v, Tensor | int | float) for v in values):
            return None
        rows = [for_each(name, v, x_t) for v in values]
        if any(r.shape != (batch, *rows[0].shape[1:]) for r in rows):
            return None
        joined[name] = torch.cat(rows)
    no = torch.zeros(batch, dtype=torch.bool, device=x_t.device)
    null = [~no if not c else for_each("null", c.get("null", no), x_t) for c in conditions]
    return {**joined, "null": torch.cat(null)}
