"""Derivatives wherever the caller is: in `no_grad`, or in inference mode, which forbids them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree


class _Copies(TorchFunctionMode):
    """Every operation sees a copy of each inference tensor in its arguments, made once: autograd keeps no other.

    They are what was made before this began (weights, operators, laws, data), so they are few and stay as they are.
    Operations in place are left alone: torch refuses them on inference tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}  # the tensor too, or another might come to have its number

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options: Mapping[str, Any] = kwargs or {}
        name: str = getattr(func, "__name__", "")
        if name.startswith(("__set", "__i")) or (name.endswith("_") and not name.endswith("__")):
            return func(*args, **options)
        args, options = _pytree.tree_map(self._normal, (args, options))
        return func(*args, **options)

    def _normal(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_inference():
            return value
        if id(value) not in self._copies:
            self._copies[id(value)] = value, value.detach().clone()
        return self._copies[id(value)][1]


@contextlib.contextmanager
def outside_inference() -> Generator[None, None, None]:
    """Out of inference mode, without gradients until asked for: what is made here, autograd may keep.

    What was made in that mode before may be used: see `_Copies`, which costs a copy of it and some time an operation.
    """
    if not torch.is_inference_mode_enabled():
        with torch.no_grad():
            yield
        return
    with torch.inference_mode(False), torch.no_grad(), _Copies():
        yield


@contextlib.contextmanager
def differentiable() -> Generator[None, None, None]:
    """Derivatives can be taken here, whatever the caller is in; a leaf is a copy, x.detach().clone()."""
    with outside_inference(), torch.enable_grad():
        yield
