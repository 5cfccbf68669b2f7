"""The weights of any module as one file: tensors by their names in its state dict, and a description as plain values.

Enough for `module.load_state_dict`, where whoever reads it has built the module, not compiled. What a denoiser needs
besides, to be built from its file alone, is `storage.models`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor, nn

from scorefield.storage.compiled import plain_names
from scorefield.storage.files import to_json
from scorefield.storage.sharded import full

FORMAT = 1


class Weights(NamedTuple):
    """What `load` returns."""

    tensors: dict[str, Tensor]  # on the CPU
    description: dict[str, Any]


def dumps(module: nn.Module, description: Mapping[str, Any]) -> bytes:
    """The file's content. Processes that share a sharded module must call it together.

    Raises:
        ValueError: if the description is not plain values.
    """
    header = to_json({"scorefield": FORMAT, **description}, "description")
    tensors = {name: full(tensor) for name, tensor in plain_names(module.state_dict()).items()}
    return safetensors.torch.save(tensors, {"scorefield": header})


def load(path: str | os.PathLike[str]) -> Weights:
    """Reads what `dumps` wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or another kind of file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = dict(json.loads((file.metadata() or {})["scorefield"]))
            tensors = plain_names({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not a scorefield checkpoint ({error})") from None
    return Weights(tensors, description)
