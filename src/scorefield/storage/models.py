"""Checkpoints: one file, written so that the old one is never lost, read without running code from it.

The file is safetensors: the weights, and in its header a JSON text that describes the denoiser as plain values: the
network, schedule and parameterisation by class name and constructor arguments, the data transform (each with its
weights where it has any, as `LatentSpace` does), and the caller's own `meta`. Names mean what the catalogue says.

A model that draws in one pass (`baselines`) is described as a whole, with the networks among its arguments.

What plain values cannot say (a `level` function, a network that does not keep its constructor's arguments) is left out:
the weights are kept all the same, and `load` asks for the part, `load(path, net=Net(64), level=lambda t: 1000 * t)`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor, nn

from scorefield._caller import warn
from scorefield.catalogue import find
from scorefield.data import Transform
from scorefield.denoisers import NetworkDenoiser, NoiseConditional
from scorefield.guidance import NetworkClassifier
from scorefield.storage.compiled import plain_name, plain_names, uncompiled
from scorefield.storage.described import bounded, describe, plain_meta, trained_classes
from scorefield.storage.described import build as build
from scorefield.storage.files import replace, to_json
from scorefield.storage.sharded import class_of, full
from scorefield.tensors import as_tensor

FORMAT = 1
WITHOUT = 2  # the format where a part is left out, which earlier readers would not miss
NAMED = 3  # where the network is told or read in a way that a word or a number names, likewise
READ_SO = ("level", "channels")
PARTS = ("net", "schedule", "parameterization", "transform", "origin")


class Checkpoint(NamedTuple):
    """What `load` returns."""

    denoiser: NetworkDenoiser  # in eval mode, on the CPU
    transform: Transform | None
    meta: dict[str, Any]


class ClassifierCheckpoint(NamedTuple):
    """What `load_classifier` returns."""

    classifier: NetworkClassifier  # in eval mode, on the CPU
    transform: Transform | None
    meta: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    denoiser: NoiseConditional,
    meta: Mapping[str, Any] | None = None,
    *,
    transform: Transform | None = None,
) -> None:
    """Writes `denoiser` to the file `path`, beside a temporary name and then renamed over it, both made durable.

    Whenever this is interrupted, `path` holds the old checkpoint or the new one, whole.

    Args:
        path: a file; its folder must exist.
        denoiser: where its network keeps each argument of its constructor as an attribute of the same name, the file is
            all that `load` needs; else it says so, once, and `load` asks for what plain values could not say.
        meta: anything JSON can hold: steps, seed, metrics.
        transform: of the data, so that samples and likelihoods are read in the right units.

    Raises:
        ValueError: for `meta` that JSON cannot hold, or statistics that are not numbers.
    """
    if missing := left_out(denoiser, transform):
        warn(reminder(missing))
    replace(Path(path), dumps(denoiser, meta, transform=transform))


def dumps(
    denoiser: NoiseConditional | nn.Module,
    meta: Mapping[str, Any] | None = None,
    *,
    transform: Transform | None = None,
) -> bytes:
    """The content of the file that `save` writes. Processes that share a sharded network must call it together.

    Raises:
        ValueError: for meta that JSON cannot hold, statistics that are not numbers, or a model that is no denoiser and
            can't be described.
    """
    if not isinstance(denoiser, NoiseConditional):
        return _dumps_whole(denoiser, meta, transform)
    mean, std = _statistic(denoiser.data_mean), _statistic(denoiser.data_std)
    if isinstance(std, Tensor):
        raise ValueError(f"data_std must be one number to be saved; got shape {tuple(std.shape)}")
    parts = _parts(denoiser, transform)
    state = {
        f"{name}.{key}": tensor
        for name, part in parts.items()
        for key, tensor in (plain_names(part.state_dict()) if isinstance(part, nn.Module) else {}).items()
    }
    if isinstance(mean, Tensor):
        state["data_mean"] = mean
    tensors = {name: full(tensor) for name, tensor in state.items()}
    missing = left_out(denoiser, transform)
    read_so = {name: value for name in READ_SO if isinstance(value := getattr(denoiser, name, None), str | int)}
    description = {
        "scorefield": NAMED if read_so else WITHOUT if missing else FORMAT,
        "model": next(cls.__name__ for cls in type(denoiser).__mro__ if cls.__name__ in trained_classes()),
        "transform": None,
        **{name: _named(part) if name in missing else describe(part) for name, part in parts.items()},
        "data_mean": None if isinstance(mean, Tensor) else mean,
        "data_std": std,
        **{name: getattr(denoiser, name) for name in denoiser.settings},
        **read_so,
        "left_out": missing,
        "meta": dict(meta or {}),
    }
    return safetensors.torch.save(tensors, {"scorefield": to_json(description, "meta")})


def _dumps_whole(model: nn.Module, meta: Mapping[str, Any] | None, transform: Transform | None) -> bytes:
    """Of a model that is described as a whole: its tensors are "model.*"."""
    parts = {"model": model, **({"transform": transform} if isinstance(transform, nn.Module) else {})}
    tensors = {
        f"{name}.{key}": full(tensor)
        for name, part in parts.items()
        for key, tensor in plain_names(part.state_dict()).items()
    }
    description = {
        "scorefield": FORMAT,
        "model": class_of(model).__name__,
        "made": describe(model),
        "transform": None if transform is None else describe(transform),
        "meta": dict(meta or {}),
    }
    return safetensors.torch.save(tensors, {"scorefield": to_json(description, "meta")})


def left_out(denoiser: NoiseConditional, transform: Transform | None = None) -> dict[str, str]:
    """The parts that a file cannot hold, and why: what `load` will ask for. Their weights it holds."""
    missing: dict[str, str] = {}
    for name, part in _parts(denoiser, transform).items():
        try:
            describe(part)
        except ValueError as error:
            missing[name] = str(error)
    if denoiser.level is not None and not isinstance(denoiser.level, str):
        missing["level"] = "a function is code, and a checkpoint holds values"
    return missing


def reminder(missing: Mapping[str, str]) -> str:
    """The line that says what `load` will ask for."""
    asked = ", ".join(f"{name}=..." for name in missing)
    return f"the weights are kept, but load will need {asked}: {'; '.join(missing.values())}"


def load(path: str | os.PathLike[str], *, types: Iterable[type] = (), **parts: Any) -> Checkpoint:
    """Reads a checkpoint. Nothing in the file is executed: names are looked up in a fixed table, tensors are numbers.

    Args:
        path: a file written by `save`.
        types: classes of yours (a network, a schedule) that may appear in it besides the library's own.
        parts: `net`, `schedule`, `parameterization`, `transform`, `origin` or `level`, to be taken instead of what the
            file says of it, or does not say; modules get the file's weights.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, not a denoiser's checkpoint, names a class that is not known, or left a part out
            that is not given.
        TypeError: for a part of another name.
    """
    model, transform, meta = read(Path(path), types, parts)
    if not isinstance(model, NetworkDenoiser):
        raise ValueError(no_denoiser(Path(path), model))
    return Checkpoint(model, transform, meta)


def load_classifier(path: str | os.PathLike[str], *, types: Iterable[type] = ()) -> ClassifierCheckpoint:
    """Reads a classifier's checkpoint, as `load` reads a denoiser's.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for a file that is damaged, of another format, or a denoiser.
    """
    model, transform, meta = read(Path(path), types)
    if not isinstance(model, NetworkClassifier):
        raise ValueError(f"{path} is a denoiser, not a classifier: train one with --task classifier")
    return ClassifierCheckpoint(model, transform, meta)


def no_denoiser(path: str | os.PathLike[str], model: nn.Module) -> str:
    """The line that says what `model` is instead, and what can't be had of it."""
    if why := getattr(model, "lacks", {}).get("score"):
        return f"{path} is a {type(model).__name__} and has no score: {why}"
    return f"{path} is a classifier, not a denoiser: it can guide one (scorefield sample --classifier)"


def read(
    path: Path, types: Iterable[type] = (), parts: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, Transform | None, dict[str, Any]]:
    """The model in eval mode, the transform and the meta.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: as `load`, but for the kind of model.
        TypeError: for a part of another name.
    """
    if strange := sorted(parts.keys() - {*PARTS, "level"}):
        raise TypeError(f"load takes types, {', '.join(PARTS)} and level; got {strange[0]!r}")
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["scorefield"])
            tensors = plain_names({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint ({error})") from None
    if not isinstance(description, dict):
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint (its description is not a JSON object)")
    if description.get("scorefield") not in (FORMAT, WITHOUT, NAMED):
        found = description.get("scorefield")
        raise ValueError(f"{path} has checkpoint format {found}; this version reads {FORMAT} to {NAMED}")
    known = {cls.__name__: cls for cls in types}
    try:
        needed = {name: why for name, why in description.get("left_out", {}).items() if name not in parts}
    except AttributeError:
        raise ValueError(f"{path} does not describe a denoiser: left_out must be a mapping") from None
    if needed:
        raise ValueError(f"{path}: {reminder(needed)}")
    try:
        kind: Any = find(trained_classes()[description.get("model", "NetworkDenoiser")])
        if "made" in description:
            made = description["made"]
            whole = {n: bounded(v, known, tensors, "model.") if isinstance(v, Mapping) else v for n, v in made.items()}
            whole.pop("type")
            transform = _part("transform", description["transform"], known, parts, tensors)
            model = kind(**whole)
            _filled("model", model, tensors)
            if tensors:
                raise ValueError(f"{next(iter(tensors))!r} is of no part of it")
            return model.eval(), transform, plain_meta(description["meta"])
        made = {name: _part(name, description.get(name), known, parts, tensors) for name in PARTS}
        transform, origin = made.pop("transform"), made.pop("origin")
        model = kind(
            *made.values(),
            **({"origin": origin} if origin is not None else {}),
            **{name: v[name] for name in READ_SO for v in (description, parts) if name in v},
            data_mean=tensors.pop("data_mean") if description["data_mean"] is None else description["data_mean"],
            data_std=description["data_std"],
            **{name: description[name] for name in kind.settings},
        )
        if isinstance(model, NetworkDenoiser):
            model.data_range = getattr(transform, "data_range", None)
        if tensors:
            raise ValueError(f"{next(iter(tensors))!r} is of no part of it")
        return model.eval(), transform, plain_meta(description["meta"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())  # torch's own goes over several lines
        raise ValueError(f"{path} does not describe a denoiser: {reason}") from None


def _part(
    name: str, described: Any, known: Mapping[str, type], given: Mapping[str, Any], tensors: dict[str, Tensor]
) -> Any:
    """The part that is given, or else was described; its weights, if it has any, are taken out of `tensors`."""
    part = given[name] if name in given else described and bounded(described, known, tensors, f"{name}.")
    module = uncompiled(part)
    if isinstance(module, nn.Module):
        _filled(name, module, tensors)
    return part


def _filled(name: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads the weights of the part `name`, which are taken out of `tensors`."""
    prefix = f"{name}."
    own = {key.removeprefix(prefix): tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
    state = module.state_dict(keep_vars=True)
    for key, tensor in plain_names(state).items():
        if key in own:  # a network trained in float64 is one again
            tensor.data = tensor.data.to(own[key].dtype)
    names = {plain_name(key): key for key in state}
    module.load_state_dict({names.get(key, key): tensor for key, tensor in own.items()})


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The network's weights in a file written by `save`, by their names in its state dict.

    Raises:
        ValueError: if it is damaged, or no such file.
    """
    return {name.removeprefix("net."): tensor for name, tensor in load_tensors(path, ("net",)).items()}


def load_tensors(path: str | os.PathLike[str], parts: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of some parts in a file written by `save`, by their names in it: "net.entry.weight".

    Raises:
        ValueError: if it is damaged, or no such file.
    """
    try:
        tensors = plain_names(safetensors.torch.load_file(path))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint ({error})") from None
    return {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in parts}


def modules(denoiser: NoiseConditional) -> dict[str, nn.Module]:
    """The parts of a denoiser that have weights, by the names that these have in a file."""
    return {name: part for name, part in _parts(denoiser, None).items() if isinstance(part, nn.Module)}


def _parts(denoiser: NoiseConditional, transform: Transform | None) -> dict[str, Any]:
    origin = getattr(denoiser, "origin", None)
    parts = (denoiser.net, denoiser.schedule, denoiser.parameterization, transform, origin)
    return {name: uncompiled(part) for name, part in zip(PARTS, parts, strict=True) if part is not None}


def _named(part: Any) -> dict[str, str]:
    return {"type": class_of(part).__name__}


def _statistic(value: Any) -> Tensor | float:
    """A mean or a standard deviation as it is kept: a number, or a tensor with axes."""
    if isinstance(value, int | float):
        return value
    tensor = as_tensor(value)
    return tensor if tensor.ndim else float(tensor)
