"""Forward-mode derivatives of layers: against central differences, their gradients too, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from scorefield.forward_mode import jvp

LAYERS = {
    "linear": (nn.Linear(3, 2), (4, 3)),
    "linear without bias": (nn.Linear(3, 2, bias=False), (4, 3)),
    "conv1d": (nn.Conv1d(2, 3, 3, padding=1), (2, 2, 5)),
    "conv2d": (nn.Conv2d(2, 3, 3, stride=2), (2, 2, 5, 5)),
    "conv2d that pads otherwise": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 4, 4)),
    "conv3d": (nn.Conv3d(1, 2, 2), (1, 1, 3, 3, 3)),
    "conv_transpose2d": (nn.ConvTranspose2d(2, 1, 2, stride=2), (1, 2, 3, 3)),
    "layer_norm": (nn.LayerNorm(3), (4, 3)),
    "layer_norm of two axes": (nn.LayerNorm([2, 3], eps=0.1), (4, 2, 3)),
    "layer_norm without weights": (nn.LayerNorm(3, elementwise_affine=False), (4, 3)),
    "group_norm": (nn.GroupNorm(2, 4), (2, 4, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_derivative_and_its_own_gradients_are_those_of_differences(name: str) -> None:
    layer, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    names = [n for n, _ in layer.named_parameters()]
    weights = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in layer.parameters()]
    x, dx = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))

    def of(x: Tensor, dx: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        def net(x: Tensor) -> Tensor:
            return functional_call(layer, dict(zip(names, weights, strict=True)), (x.sin(),))

        return jvp(net, (x,), (dx,))

    out, moved = of(x, dx, *weights)
    h = 1e-5
    there, back = of(x + h * dx, dx, *weights)[0], of(x - h * dx, dx, *weights)[0]
    torch.testing.assert_close(moved, (there - back) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(out, functional_call(layer, dict(zip(names, weights, strict=True)), (x.sin(),)))
    torch.autograd.gradcheck(of, tuple(v.requires_grad_() for v in (x, dx, *weights)))


def test_a_second_derivative_is_that_of_differences() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, dx = torch.randn(4, 3).double(), torch.randn(4, 3).double()

    def rate(x: Tensor) -> Tensor:
        return jvp(net, (x,), (dx,))[1]

    difference = (rate(x + 1e-5 * dx) - rate(x - 1e-5 * dx)) / 2e-5
    torch.testing.assert_close(jvp(rate, (x,), (dx,))[1], difference, rtol=1e-6, atol=1e-8)


def test_a_weight_that_moves_too_is_not_taken_for_a_constant() -> None:
    weight, x = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]])
    moved = jvp(nn.functional.linear, (x, weight), (torch.ones_like(x), torch.ones_like(weight)))[1]
    assert moved.item() == 2 + 3 + 5 + 7


class _Counted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


def test_a_convolution_is_done_twice_and_not_three_times() -> None:
    x = torch.randn(1, 2, 5, 5)
    with _Counted() as counted:
        jvp(nn.Conv2d(2, 3, 3), (x,), (x,))
    assert counted.n == 2
