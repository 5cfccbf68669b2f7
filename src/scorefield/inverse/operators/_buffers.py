"""Constants of an operator, wherever and in whatever precision they are needed."""

from __future__ import annotations

import torch
from torch import Tensor


class Buffer:
    """A constant tensor; `like(x)` is the same on x's device, in its precision (integers stay integers), made once.

    None is a tensor of inference mode, wherever it is made: kept here, it could not be differentiated through later.
    """

    def __init__(self, tensor: Tensor) -> None:
        with torch.inference_mode(False):
            self.tensor = tensor.detach().clone() if tensor.is_inference() else tensor.detach()
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        dtype = self.tensor.dtype
        if self.tensor.is_complex():
            dtype = x.dtype.to_complex()
        elif self.tensor.is_floating_point():
            dtype = x.dtype
        if dtype == self.tensor.dtype and x.device == self.tensor.device:
            return self.tensor
        key = (dtype, x.device)
        if key not in self._copies:
            with torch.inference_mode(False):
                self._copies[key] = self.tensor.to(device=x.device, dtype=dtype)
        return self._copies[key]
