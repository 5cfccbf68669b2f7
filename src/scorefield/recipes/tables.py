"""Names to classes: the one place where a recipe's words meet the library."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from scorefield import distributions, losses, networks, parameterizations, schedules
from scorefield.data import text
from scorefield.losses import times, weights
from scorefield.recipes.schema import Part
from scorefield.training import optimizers

Table = Mapping[str, Callable[..., Any]]


def _by_name(*entries: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {entry.__name__: entry for entry in entries}


NETWORKS: Table = {
    **_by_name(networks.MLP, networks.UNet, networks.DiT, networks.UNetEncoder, networks.MLPEncoder),
    "UNet.ddpmpp": networks.UNet.ddpmpp,
    "UNet.ncsnpp": networks.UNet.ncsnpp,
    "UNet.adm": networks.UNet.adm,
}
SCHEDULES: Table = {
    **_by_name(
        schedules.VP, schedules.SubVP, schedules.VE, schedules.VEPower, schedules.Brownian, schedules.EDM,
        schedules.Cosine, schedules.Rectified,
    ),
    "Discrete": schedules.Discrete.linear,
}  # fmt: skip
PARAMETERIZATIONS: Table = _by_name(
    parameterizations.X0, parameterizations.Eps, parameterizations.V, parameterizations.Velocity,
    parameterizations.Score, parameterizations.EDMPreconditioning,
)  # fmt: skip
LOSSES: Table = _by_name(
    losses.denoising, losses.implicit, losses.sliced, losses.finite_difference, losses.classification
)  # fmt: skip
WEIGHTS: Table = {
    **{fn.__name__: lambda fn=fn: fn for fn in (
        weights.x0, weights.eps, weights.snr, weights.v, weights.velocity, weights.score, weights.ncsn,
        weights.likelihood,
    )},
    **_by_name(weights.MinSNR, weights.SoftMinSNR, weights.P2, weights.EDMWeight),
}  # fmt: skip
TIMES: Table = _by_name(times.Uniform, times.LogNormal, times.LogitNormal, times.Importance, times.Ladder)
OPTIMIZERS: Table = _by_name(optimizers.AdamW, optimizers.Muon)
DECAYS: Table = _by_name(optimizers.cosine, optimizers.constant, optimizers.inverse_sqrt)
ENCODERS: Table = _by_name(text.MiniLM)
SHAPES: Table = {
    "eight-gaussians": distributions.eight_gaussians,
    "two-moons": distributions.two_moons,
    "spiral": distributions.spiral,
    "checkerboard": distributions.checkerboard,
    "rings": distributions.rings,
    "pinwheel": distributions.pinwheel,
}


def choose(where: str, name: str, table: Table) -> Callable[..., Any]:
    """The entry of that name.

    Raises:
        ValueError: naming the key, what came and the nearest known name.
    """
    if name not in table:
        raise ValueError(f"{where}: unknown {name!r}. {nearest(name, table)}")
    return table[name]


def made(where: str, part: Part, table: Table, **derived: Any) -> Any:
    """`part` built: its own arguments, and of the `derived` ones those that it takes and does not give itself.

    Raises:
        ValueError: for an unknown name, an argument it does not take, or a value of another type, by its key.
    """
    entry = choose(f"{where}.type", part.type, table)
    known = inspect.signature(entry).parameters
    variadic = any(p.kind is p.VAR_KEYWORD for p in known.values())
    taken = inspect.signature(networks.UNet).parameters if variadic else known
    hints = _hints(entry)
    arguments = {}
    for name, value in part.arguments.items():
        if name not in taken:
            raise ValueError(f"unknown key '{where}.{name}': {part.type} has no such argument. {nearest(name, taken)}")
        arguments[name] = _checked(f"{where}.{name}", value, hints.get(name, Any))
    for name, value in derived.items():
        if name in taken and name not in arguments:
            arguments[name] = value
    missing = [
        n for n, p in known.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and n not in arguments
    ]
    if missing:
        raise ValueError(f"{where}: {part.type} needs {missing[0]!r}")
    return entry(**arguments)


def nearest(name: str, known: Iterable[str]) -> str:
    """'Did you mean ...?', or the list of what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def _hints(entry: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)
    except (NameError, AttributeError):  # hints that name things imported for type checking only
        return {}


def _checked(where: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {error.errors()[0]['msg'].lower()}; got {value!r}") from None
