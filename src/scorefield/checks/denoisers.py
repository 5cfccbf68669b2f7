"""What a denoiser, and a flow map, owe whoever evaluates them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.checks.base import Check, close, listed, require, run
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating, require_denoiser
from scorefield.flowmaps import ConsistencyMap, FlowMap

f64 = torch.float64
TIMES = (0.05, 0.5, 0.95)


def of_denoiser(
    denoiser: Denoiser, event_shape: Sequence[int], *, cond: Mapping[str, Any] | None = None
) -> list[Check]:
    """The clauses of `check_denoiser`, each by itself; of a `FlowMap` also those of `check_flow_map`.

    Raises:
        TypeError: for what is no denoiser.
        ValueError: for conditions of another number of rows than 4.
    """
    require_denoiser("denoiser", denoiser)
    x = _input(denoiser, event_shape)
    told = Conditions.of(cond, 4, x.dtype, x.device)

    def shapes() -> None:
        for t in TIMES:
            x0 = denoiser(x, _time(t), **told)
            require(x0.shape == x.shape and x0.dtype == x.dtype, "the denoiser must return x_t's shape and dtype", x0)
            require(bool(torch.isfinite(x0).all()), f"E[x0 | x_t] must be finite at t = {t}", x0)

    def times() -> None:
        for t in TIMES:
            each = denoiser(x, torch.full((4,), t, dtype=f64, device="cpu"), **told)
            close(each, denoiser(x, _time(t), **told), "a time for each sample must agree with one time for all", 1e-4)

    def alone() -> None:
        for t in TIMES:
            x0 = denoiser(x, _time(t), **told)
            for i in range(4):
                row = slice(i, i + 1)
                one = denoiser(x[row], _time(t), **told.rows(row))
                close(one, x0[row], "a sample alone must agree with the same in a batch", 1e-4)

    def empty() -> None:
        none = denoiser(x[:0], _time(0.5), **told.rows(slice(0, 0)))
        require(none.shape == x[:0].shape, "an empty batch must come back empty", none)

    clauses = {
        "shapes and dtypes": shapes, "a time for each sample": times, "no sample sees its batch": alone,
        "empty batches": empty,
    }  # fmt: skip
    if isinstance(denoiser, FlowMap) and not isinstance(denoiser, ConsistencyMap):
        clauses |= _of_map(denoiser, x, told)
    return listed(denoiser, {name: _evaluated(denoiser, clause) for name, clause in clauses.items()})


def _of_map(flow_map: FlowMap, x: Tensor, told: Conditions) -> dict[str, Callable[[], None]]:
    def stays() -> None:
        for t in TIMES:
            gap = flow_map(x, _time(t), _time(t), **told)
            close(gap, x, "a jump to where it starts must leave x_t as it is", 1e-4)

    def lands() -> None:
        x_s = flow_map(x, _time(0.9), _time(0.3), **told)
        require(x_s.shape == x.shape and x_s.dtype == x.dtype, "a jump must return x_t's shape and dtype", x_s)
        require(bool(torch.isfinite(x_s).all()), "a jump must be finite", x_s)

    def alone() -> None:
        x_s = flow_map(x, _time(0.9), _time(0.3), **told)
        for i in range(4):
            row = slice(i, i + 1)
            one = flow_map(x[row], _time(0.9), _time(0.3), **told.rows(row))
            close(one, x_s[row], "a sample's jump alone must agree with the same in a batch", 1e-4)

    def diagonal() -> None:
        """(X(z; theta, theta - h) - z) / -h -> the ODE's velocity: of the map's own denoiser."""
        for t in (0.3, 0.7):
            circle = flow_map.circle
            here = circle.place(_time(t))
            z, theta = circle.z(x, here), here.theta.expand(4)
            u = flow_map.mean_velocity(z, theta, theta, **told)
            # z = cos y + sin eps in the data's units: dz/dtheta = (z cos - y) / sin
            y = (flow_map(x, _time(t), **told) - circle.mean(z)) / flow_map.data_std
            v = (z * float(torch.cos(here.theta)) - y) / float(torch.sin(here.theta))
            close(u, v, "the diagonal must be the velocity of the map's own denoiser", 1e-3)

    return {
        "a jump to itself": stays, "jumps": lands, "no sample's jump sees its batch": alone,
        "the diagonal is its denoiser's velocity": diagonal,
    }  # fmt: skip


def check_denoiser(denoiser: Denoiser, event_shape: Sequence[int], *, cond: Mapping[str, Any] | None = None) -> None:
    """Shape and dtype of x_t; a time for all or for each; no sample depends on its neighbours; empty batches.

    `cond` holds the conditions of a batch of 4: see `scorefield.conditions`.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_denoiser(denoiser, event_shape, cond=cond))


def check_flow_map(flow_map: FlowMap, event_shape: Sequence[int], *, cond: Mapping[str, Any] | None = None) -> None:
    """A denoiser's clauses; a jump to where it starts stays; its diagonal is the velocity of its own denoiser.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
        TypeError: for what is no flow map.
    """
    if not isinstance(flow_map, FlowMap):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"flow_map must be a FlowMap; got {type(flow_map).__name__}")
    run(of_denoiser(flow_map, event_shape, cond=cond))


def _evaluated(denoiser: Denoiser, clause: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(clause)
    def within() -> None:
        with evaluating(denoiser), torch.no_grad():
            clause()

    return within


def _input(denoiser: Denoiser, event_shape: Sequence[int]) -> Tensor:
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), torch.zeros((), device="cpu"))
    generator = torch.Generator().manual_seed(0)
    return torch.randn((4, *event_shape), generator=generator, dtype=own.dtype, device="cpu").to(own.device)


def _time(t: float) -> Tensor:
    return torch.tensor(t, dtype=f64, device="cpu")
