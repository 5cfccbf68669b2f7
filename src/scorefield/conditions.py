"""What a denoiser is told besides x_t and t, and whom it is for: `cond={...}`, keyword arguments of the denoiser.

    value                                         is for        and reaches the network as
    a tensor, array or list with an axis          each sample   a tensor whose row i is sample i's: B rows, no others
    a number, a 0-d tensor or array               all samples   itself: label=3 is one class for all
    shared(a tensor, array or list)               all samples   the whole tensor, whatever its length, in every chunk
    None, a string, any other object              all samples   itself

A length is never compared with B to find out whose a value is: an unmarked one of another length is refused, in one
line, before the network is called. Arrays and lists become tensors, floats take the dtype of x, integers keep theirs
(those of lists are int64), and all tensors go to the device of x, once, before the first step. After that rows are cut
for a chunk or for the samples that are left, repeated for the particles or the patches of a sample, and tiled for
batches one after another; what all share stays as it is.

Networks of this library read what all share as one condition for every sample: a label `()`, a vector `(k,)`, tokens
`(L, d)`. They, and the denoisers that wrap others, take every form when called by themselves, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Shared(Tensor):
    """A tensor that all samples are told whole. It is the tensor, marked: what is computed from it is a plain one."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as of nn.Parameter


def shared(value: Any) -> Shared:
    """`value`, a tensor, array, list or number, as a condition that all samples share: see the top of this module.

    Raises:
        ValueError: for what holds anything but numbers.
    """
    return _tensor("shared", value).as_subclass(Shared)


class Conditions(dict[str, Any]):
    """Conditions that were checked; `denoiser(x_t, t, **conditions)`."""

    @classmethod
    def of(
        cls,
        cond: Mapping[str, Any] | None,
        batch: int,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        *,
        what: str = "samples",
    ) -> Conditions:
        """The conditions of `batch` samples, for x of that `dtype` and `device`; errors call them by `what` they are.

        Raises:
            TypeError: for a `cond` that is no mapping.
            ValueError: for a condition with another number of rows than samples, or a list that holds no numbers.
        """
        if not isinstance(cond, Mapping | None):
            raise TypeError(f"cond must map names to values, such as {{'label': 3}}; got {type(cond).__name__}")
        told = cls()
        for name, value in (cond or {}).items():
            if _is_array(value):
                value = _placed(_tensor(name, value), dtype, device)
                if of_samples(value) and len(value) != batch:
                    raise ValueError(
                        f"{name} must have an entry for each of the {batch} {what}; got shape {tuple(value.shape)}. "
                        "What all of them share is sf.shared(...)"
                    )
            told[name] = value
        return told

    def rows(self, index: slice | Tensor) -> Conditions:
        """Those of the samples `index`: a slice, or `(n,)` int64."""
        return self._each(lambda v: v[index])

    def repeated(self, times: int) -> Conditions:
        """Those of a batch that holds every sample `times` times, one after another."""
        return self._each(lambda v: v.repeat_interleave(times, 0))

    def tiled(self, times: int) -> Conditions:
        """Those of the whole batch `times` times, one after another."""
        return self._each(lambda v: torch.cat([v] * times))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        return Conditions({name: change(value) if of_samples(value) else value for name, value in self.items()})


def of_samples(value: Any) -> bool:
    """Whether a checked value has a row for each sample."""
    return isinstance(value, Tensor) and value.ndim > 0 and not isinstance(value, Shared)


def for_each(name: str, value: Any, x: Tensor) -> Tensor:
    """`value` with a row for each of `x` `(B, *event)`, on its device: what all share is expanded to `(B, ...)`.

    Rows that are there already are not counted: whoever calls this knows the whole shape it wants, and checks that.
    """
    tensor = _placed(_tensor(name, value, x.device), x.dtype, x.device)
    return tensor if of_samples(tensor) else tensor.expand(x.shape[0], *tensor.shape)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | list | tuple | range) or hasattr(value, "__array__")


def _tensor(name: str, value: Any, device: torch.device | None = None) -> Tensor:
    """As a tensor, in its own dtype; a number is made where it is needed."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool | int | float):
        return torch.full((), value, dtype=torch.float64 if isinstance(value, float) else None, device=device)
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        return torch.stack(list(value))
    try:
        return torch.from_numpy(np.array(value))
    except (TypeError, ValueError, RuntimeError):
        shown = " ".join(repr(value).split())
        raise ValueError(f"{name} must hold numbers, in a tensor or what becomes one; got {shown:.60}") from None


def _placed(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | None) -> Tensor:
    placed = tensor.to(device, dtype if tensor.is_floating_point() else None)
    return placed.as_subclass(Shared) if isinstance(tensor, Shared) else placed
