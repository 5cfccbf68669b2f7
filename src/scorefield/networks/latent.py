"""Networks between a latent vector and data, for models that draw in one pass: no noise level, no normalisation.

    generator   z (B, latent)  ->  x (B, *event)          features   x (B, *event)  ->  (B, outputs)

A residual block is h + W2 f(W1 f(h)) with f a leaky rectifier and W2 zero at the start, so that depth costs nothing at
first. There is no batch normalisation, here or in any network of the library: the loss of a sample would then depend on
the other samples, pieces of a batch and several processes would not add up to it, and the gradient of a critic at one
point, which a gradient penalty needs, would be that of the whole batch.

References:
    Zhang, Dauphin & Ma 2019 (Fixup: residual networks without normalisation); Huang et al. 2024 (the same for GANs).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.networks.layers import require_positive, zero
from scorefield.networks.resampling import CONV, Down, Up, crop, fold, pad_to, unfold

SLOPE = 0.2


class MLPGenerator(nn.Module):
    """`depth` residual blocks of width `hidden` from a latent vector to events of shape `event_shape`.

    Args:
        latent: entries of z.
        event_shape: of one datum.
        hidden, depth: width and number of blocks.

    Raises:
        ValueError: for sizes below 1.
    """

    def __init__(self, latent: int, event_shape: Sequence[int], hidden: int = 128, depth: int = 3) -> None:
        super().__init__()
        require_positive("MLPGenerator", latent=latent, hidden=hidden, depth=depth)
        self.latent, self.event_shape, self.hidden, self.depth = latent, tuple(event_shape), hidden, depth
        self.layers = _perceptron(latent, hidden, depth, math.prod(self.event_shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).reshape(len(z), *self.event_shape)


class MLPFeatures(nn.Module):
    """The same blocks from events of shape `event_shape` to `outputs` numbers: a critic's one, an encoder's moments.

    Args:
        event_shape: of one datum.
        outputs: numbers of each.
        hidden, depth: width and number of blocks.

    Raises:
        ValueError: for sizes below 1.
    """

    def __init__(self, event_shape: Sequence[int], outputs: int, hidden: int = 128, depth: int = 3) -> None:
        super().__init__()
        require_positive("MLPFeatures", outputs=outputs, hidden=hidden, depth=depth)
        self.event_shape, self.outputs, self.hidden, self.depth = tuple(event_shape), outputs, hidden, depth
        self.layers = _perceptron(math.prod(self.event_shape), hidden, depth, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(len(x), -1))


class ConvGenerator(nn.Module):
    """From a latent vector to a map at the lowest resolution, then residual blocks and doublings up to the event.

    Args:
        latent: entries of z.
        event_shape: `(C, L)` or `(C, H, W)`, any size.
        width: channels at the full resolution.
        multipliers: of the width, one for each resolution, the full one first.
        blocks: residual blocks for each resolution.
        patch: pixels a side that are folded into channels, as in `UNet`.

    Raises:
        ValueError: for sizes below 1, or events of another number of axes.
    """

    def __init__(
        self,
        latent: int,
        event_shape: Sequence[int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        patch: int = 1,
    ) -> None:
        super().__init__()
        _check("ConvGenerator", event_shape, multipliers, latent=latent, width=width, blocks=blocks, patch=patch)
        self.latent, self.event_shape, self.width = latent, tuple(event_shape), width
        self.multipliers, self.blocks, self.patch = tuple(multipliers), blocks, patch
        channels, dims = self.event_shape[0], len(self.event_shape) - 1
        self.sizes, widths = _sizes(self.event_shape[1:], patch, len(self.multipliers)), _widths(self)
        self.entry = nn.Linear(latent, widths[-1] * math.prod(self.sizes[-1]))
        self.levels = nn.ModuleList(_blocks(w, blocks, dims) for w in reversed(widths))
        self.changes = nn.ModuleList(
            CONV[dims](deep, wide, 1) for deep, wide in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = Up(dims, "fir")
        self.exit = CONV[dims](widths[0], channels * patch**dims, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.entry(z).reshape(len(z), -1, *self.sizes[-1])
        for i, level in enumerate(self.levels):
            if i:
                h = self.changes[i - 1](self.up(h, self.sizes[-1 - i]))
            h = level(h)
        return crop(unfold(self.exit(F.leaky_relu(h, SLOPE)), self.patch), self.event_shape[1:])


class ConvFeatures(nn.Module):
    """The mirror of `ConvGenerator`: residual blocks and halvings, then a linear layer of all that is left.

    Args:
        event_shape: `(C, L)` or `(C, H, W)`, any size.
        outputs: numbers of each event.
        width, multipliers, blocks, patch: as in `ConvGenerator`.

    Raises:
        ValueError: for sizes below 1, or events of another number of axes.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        outputs: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        patch: int = 1,
    ) -> None:
        super().__init__()
        _check("ConvFeatures", event_shape, multipliers, outputs=outputs, width=width, blocks=blocks, patch=patch)
        self.event_shape, self.outputs, self.width = tuple(event_shape), outputs, width
        self.multipliers, self.blocks, self.patch = tuple(multipliers), blocks, patch
        channels, dims = self.event_shape[0], len(self.event_shape) - 1
        sizes, widths = _sizes(self.event_shape[1:], patch, len(self.multipliers)), _widths(self)
        self.entry = CONV[dims](channels * patch**dims, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(_blocks(w, blocks, dims) for w in widths)
        self.changes = nn.ModuleList(CONV[dims](wide, deep, 1) for wide, deep in itertools.pairwise(widths))
        self.down = Down(dims, "fir")
        self.exit = nn.Linear(widths[-1] * math.prod(sizes[-1]), outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.entry(fold(pad_to(x, self.patch), self.patch))
        for i, level in enumerate(self.levels):
            if i:
                h = self.changes[i - 1](self.down(h))
            h = level(h)
        return self.exit(F.leaky_relu(h, SLOPE).flatten(1))


class _Residual(nn.Module):
    """h + second(f(first(f(h)))), `second` zero at the start."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, zero(second)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.leaky_relu(self.first(F.leaky_relu(h, SLOPE)), SLOPE))


def _perceptron(inputs: int, hidden: int, depth: int, outputs: int) -> nn.Sequential:
    blocks = [_Residual(nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)) for _ in range(depth)]
    return nn.Sequential(nn.Linear(inputs, hidden), *blocks, nn.LeakyReLU(SLOPE), nn.Linear(hidden, outputs))


def _blocks(width: int, count: int, dims: int) -> nn.Sequential:
    conv = [[CONV[dims](width, width, 3, padding=1) for _ in range(2)] for _ in range(count)]
    return nn.Sequential(*(_Residual(*pair) for pair in conv))


def _widths(net: ConvGenerator | ConvFeatures) -> list[int]:
    return [net.width * multiplier for multiplier in net.multipliers]


def _sizes(size: Sequence[int], patch: int, levels: int) -> list[tuple[int, ...]]:
    """Of the maps, from the full resolution down."""
    found = [tuple(-(-n // patch) for n in size)]
    for _ in range(levels - 1):
        found.append(tuple(-(-n // 2) for n in found[-1]))
    return found


def _check(owner: str, event_shape: Sequence[int], multipliers: Sequence[int], **sizes: int) -> None:
    require_positive(owner, **sizes, multipliers=min(multipliers, default=0))
    if len(event_shape) - 1 not in CONV or min(event_shape, default=0) < 1:
        raise ValueError(f"{owner}: event_shape must be (C, L) or (C, H, W); got {tuple(event_shape)}")


def count(net: nn.Module) -> int:
    """Numbers that a network learns."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def match(make: Callable[[int], nn.Module], target: int, *, low: int = 4, high: int = 4096) -> int:
    """The size whose network `make(size)` has nearest to `target` parameters; more never has fewer.

    Args:
        make: a width to a network.
        target: numbers that it should learn.
        low, high: the widths to look among.
    """
    with torch.device("meta"):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if count(make(middle)) <= target else (low, middle)
        return min((low, high), key=lambda size: abs(count(make(size)) - target))
