"""Checkpoints: one file, written so that the old one is never lost, read without running code from it.

The file is safetensors: the weights, and in its header a JSON text that describes the denoiser as plain values: the
network, schedule and parameterisation by class name and constructor arguments, the data transform (with its weights
where it has any, as `LatentSpace` does), and the caller's own `meta`. Names mean what the catalogue says they do.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from scorefield.catalogue import MODELS, find, stored_classes
from scorefield.data import Transform
from scorefield.data.latent_space import LatentSpace
from scorefield.denoisers import NetworkDenoiser, NoiseConditional
from scorefield.guidance import NetworkClassifier
from scorefield.storage.files import replace
from scorefield.storage.sharded import class_of, full

FORMAT = 1


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
        denoiser: its network keeps each argument of its constructor as an attribute of the same name.
        meta: anything JSON can hold: steps, seed, metrics.
        transform: of the data, so that samples and likelihoods are read in the right units.

    Raises:
        ValueError: if a part cannot be described by plain values (a `level` function, `meta` that is not JSON).
    """
    replace(Path(path), dumps(denoiser, meta, transform=transform))


def dumps(
    denoiser: NoiseConditional, meta: Mapping[str, Any] | None = None, *, transform: Transform | None = None
) -> bytes:
    """The content of the file that `save` writes. Processes that share a sharded network must call it together.

    Raises:
        ValueError: for a denoiser with a `level` function of its own, or meta that JSON cannot hold.
    """
    if denoiser.level is not None:
        raise ValueError("a denoiser with its own `level` function can't be saved: a checkpoint holds values, not code")
    mean = denoiser.data_mean
    state = {f"net.{name}": tensor for name, tensor in denoiser.net.state_dict().items()}
    if isinstance(mean, Tensor):
        state["data_mean"] = mean
    if isinstance(transform, nn.Module):
        state |= {f"transform.{name}": tensor for name, tensor in transform.state_dict().items()}
    tensors = {name: full(tensor) for name, tensor in state.items()}
    description = {
        "scorefield": FORMAT,
        "model": next(name for name, cls in _models().items() if isinstance(denoiser, cls)),
        "net": describe(denoiser.net),
        "schedule": describe(denoiser.schedule),
        "parameterization": describe(denoiser.parameterization),
        "data_mean": None if isinstance(mean, Tensor) else mean,
        "data_std": denoiser.data_std,
        "transform": None if transform is None else describe(transform),
        "meta": dict(meta or {}),
    }
    try:
        header = json.dumps(description)
    except TypeError as error:
        raise ValueError(f"meta must be plain values that JSON can hold: {error}") from None
    return safetensors.torch.save(tensors, {"scorefield": header})


def load(path: str | os.PathLike[str], *, types: Iterable[type] = ()) -> Checkpoint:
    """Reads a checkpoint. Nothing in the file is executed: names are looked up in a fixed table, tensors are numbers.

    Args:
        path: a file written by `save`.
        types: classes of yours (a network, a schedule) that may appear in it besides the library's own.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, not a denoiser's checkpoint, or names a class that is not known.
    """
    model, transform, meta = read(Path(path), types)
    if not isinstance(model, NetworkDenoiser):
        raise ValueError(f"{path} is a classifier, not a denoiser: it can guide one (scorefield sample --classifier)")
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


def read(path: Path, types: Iterable[type] = ()) -> tuple[NoiseConditional, Transform | None, dict[str, Any]]:
    """The model in eval mode, the transform and the meta.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: as `load`, but for the kind of model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["scorefield"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint ({error})") from None
    if not isinstance(description, dict):
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint (its description is not a JSON object)")
    if description.get("scorefield") != FORMAT:
        raise ValueError(f"{path} has checkpoint format {description.get('scorefield')}; this version reads {FORMAT}")
    known = {cls.__name__: cls for cls in types}
    try:
        model = _models()[description.get("model", "NetworkDenoiser")](
            build(description["net"], known),
            build(description["schedule"], known),
            build(description["parameterization"], known),
            data_mean=tensors.pop("data_mean") if description["data_mean"] is None else description["data_mean"],
            data_std=description["data_std"],
        )
        transform = None if description["transform"] is None else _transform(description["transform"], known, tensors)
        if isinstance(model, NetworkDenoiser):
            model.data_range = getattr(transform, "data_range", None)
        model.net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in tensors.items()})
        return model.eval(), transform, description["meta"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        reason = " ".join(str(error).split())  # torch's own goes over several lines
        raise ValueError(f"{path} does not describe a denoiser: {reason}") from None


def _transform(description: Mapping[str, Any], known: Mapping[str, type], tensors: dict[str, Tensor]) -> Any:
    """The transform that was described; its weights, if it has any, are taken out of `tensors`."""
    transform = build(description, known)
    if isinstance(transform, nn.Module):
        own = [name for name in tensors if name.startswith("transform.")]
        transform.load_state_dict({name.removeprefix("transform."): tensors.pop(name) for name in own})
    return transform


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The network's weights in a file written by `save`, by their names in its state dict.

    Raises:
        ValueError: if it is damaged, or no such file.
    """
    try:
        tensors = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint ({error})") from None
    return {name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")}


def describe(value: Any) -> dict[str, Any]:
    """`value` as plain data: its class's name and the arguments of its constructor.

    Raises:
        ValueError: for an argument that is not an attribute, or not a plain value.
    """
    cls = class_of(value)
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.init]
    else:
        names = list(inspect.signature(cls).parameters)
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise ValueError(
            f"{cls.__name__} can't be described: its constructor's argument {missing[0]!r} is not an attribute"
        )
    return {"type": cls.__name__, **{name: _plain(getattr(value, name), inside=value) for name in names}}


def build(description: Mapping[str, Any], types: Mapping[str, type] = MappingProxyType({})) -> Any:
    """The value that `describe` described; `types` are classes by name, before those of the catalogue.

    Raises:
        ValueError: for an unknown type.
    """
    arguments = {
        name: build(value, types) if isinstance(value, Mapping) else value for name, value in description.items()
    }
    name = arguments.pop("type")
    if name in types:
        return types[name](**arguments)
    place = stored_classes().get(name)
    if place is None:
        raise ValueError(f"unknown type {name!r} in a checkpoint; pass its class in `types` if it is yours")
    return find(place)(**arguments)


def _models() -> dict[str, type[NoiseConditional]]:
    """What is trained, by the name of its class."""
    return {cls.__name__: cls for cls in map(find, MODELS.values())}  # type: ignore[attr-defined]


def _plain(value: Any, inside: Any = None) -> Any:
    if isinstance(value, Tensor):
        return value.to(torch.float64).tolist()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(inside, LatentSpace) and (isinstance(value, nn.Module) or dataclasses.is_dataclass(value)):
        return describe(value)  # its weights are among those of the whole
    if isinstance(value, nn.Module) or not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"only plain values can be kept in a checkpoint; got {value!r}")
    return value
