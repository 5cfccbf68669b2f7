"""What samples are compared by: any callable of `(B, *event)` to `(B, d)`, and the ones that come with the library.

A distance between features sees what the features see, and no more. So every metric says which it used, by name and
hash: of a module the hash of its weights, of a stated `fingerprint` that, and of any other callable the hash of what it
makes of the first real data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Tensor]

PROBED = 8  # real data whose features stand for a callable that has no weights
BATCH = 512


@dataclass(frozen=True, eq=False)
class Named:
    """A callable with a name and a fingerprint, run in batches and without gradients."""

    function: Features = field(repr=False)
    name: str
    fingerprint: str

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.function(part).reshape(len(part), -1) for part in x.split(BATCH)])


def pca(reference: Tensor, k: int) -> Named:
    """The first k principal components of `reference` `(N, *event)`: (x - mean) V, not whitened.

    Fit it on data that is not compared, or a two-sample p-value is only nearly exact.

    Raises:
        ValueError: for a k outside 1 .. min(N, size of the event), or values that are not finite.
    """
    flat = reference.detach().reshape(len(reference), -1).to("cpu", torch.float64)
    if not 1 <= k <= min(flat.shape):
        raise ValueError(f"k must lie in [1, {min(flat.shape)}]; got {k}")
    if not bool(torch.isfinite(flat).all()):
        raise ValueError("reference must be finite")
    mean = flat.mean(0)
    vectors = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:k].T
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()  # a component's sign is no one's choice
    vectors = vectors * signs
    return Named(
        lambda x: (x.reshape(len(x), -1).to("cpu", torch.float64) - mean) @ vectors, f"pca{k}", _digest([mean, vectors])
    )


def penultimate(network: nn.Module, *, name: str = "penultimate", forward: Features | None = None) -> Named:
    """What the last linear layer of `network` is given, flattened: a classifier's features.

    Args:
        forward: how the network is called with x; `network(x)` unless given (a classifier told of its noise takes t).

    Raises:
        ValueError: for a network without a linear layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"network must have a linear layer; {type(network).__name__} has none")
    last, call = linear[-1], forward or network

    def function(x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        modes = [(m, m.training) for m in network.modules()]
        network.eval()
        try:
            call(x)
        finally:
            hook.remove()
            for module, training in modes:
                module.training = training
        if len(seen) != 1:
            raise RuntimeError(f"the last linear layer must be called once a batch; it was {len(seen)} times")
        return seen[0].reshape(len(x), -1)

    return Named(function, name, _digest(network.state_dict().values()))


def exported(path: str | Path) -> Named:
    """A program written by `torch.export.save`; its first output `(B, *)` is flattened.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no exported program at {path}")
    program = torch.export.load(path).module()

    def function(x: Tensor) -> Tensor:
        made = program(x)
        return made if isinstance(made, Tensor) else made[0]

    return Named(function, path.stem, hashlib.sha256(path.read_bytes()).hexdigest())


def described(features: Features | None, real: Tensor) -> str:
    """The name and the first 12 digits of the hash of `features`; "raw" where there are none."""
    if features is None:
        return "raw"
    name = getattr(features, "name", None) or getattr(features, "__name__", type(features).__name__)
    digest = getattr(features, "fingerprint", None)
    if digest is None and isinstance(features, nn.Module) and features.state_dict():
        digest = _digest(features.state_dict().values())
    if digest is None:
        with torch.no_grad():
            digest = _digest([features(real[:PROBED])])
    return f"{name}:{digest[:12]}"


def _digest(tensors: object) -> str:
    total = hashlib.sha256()
    for tensor in tensors:  # type: ignore[attr-defined]
        array = np.ascontiguousarray(tensor.detach().cpu().double().numpy())
        total.update(str(array.shape).encode() + array.tobytes())
    return total.hexdigest()
