"""The layout that keeps a sample's numbers independent of its batch.

BLAS picks its kernels by matrix shape, so `x @ m` of one row and of 256 rows differ in the last bits; and vectorised
reductions add in an order that depends on what lies side by side. Both go away when every product and every sum has
the same shape, whatever the batch: the batch is padded to blocks of `LANES` samples which lie along the last dimension,

    x (B, D) -> (N, D, LANES),   N = ceil(B / LANES),

matrix products are (P, Q) @ (Q, LANES), one per block, and sums (`total`) are trees of elementwise additions. Small
matrices are multiplied entry by entry, and then bits are the same wherever a sample stands. A larger product gives a
sample the same bits at the same place of a block, and at another wherever BLAS treats all columns alike, as the kernels
measured do but none promises: to rounding, then.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.distributions.base import Level
from scorefield.tensors import as_tensor

# A multiple of every tile width BLAS libraries use (4, 6, 8, 12, 16, 24, 48): with 64, MKL's float64 product treats the
# last four columns with another kernel than the rest, and the sample's position in the block shows in its last bit.
LANES = 48

# Elements of a temporary per pass: keeps it in cache, and memory bounded however large the batch.
PASS = 1 << 18


def to_lanes(x: Tensor) -> Tensor:
    """`(B, D)` -> `(N, D, LANES)`, padded with zeros."""
    x = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % LANES))
    return x.reshape(-1, LANES, x.shape[1]).transpose(1, 2).contiguous()


def from_lanes(y: Tensor, batch: int) -> Tensor:
    """`(N, D, LANES)` -> `(B, D)`."""
    return y.transpose(1, 2).reshape(-1, y.shape[1])[:batch]


def matmul(matrix: Tensor, y: Tensor) -> Tensor:
    """`matrix @ y[n]` for each block: `(P, Q)`, `(N, Q, LANES)` -> `(N, P, LANES)`."""
    if matrix.numel() <= 16:  # too small for BLAS to be worth its call
        return total(matrix[:, :, None] * y[:, None], 2).squeeze(2)
    return torch.bmm(matrix.expand(len(y), *matrix.shape), y)


def total(y: Tensor, dim: int) -> Tensor:
    """Sum over `dim`, kept with size 1, by halving. torch.sum adds in another order in the last columns of a block."""
    size = y.shape[dim]
    if size == 0:
        return y.sum(dim, keepdim=True)
    odd = []
    while size > 1:
        half = size // 2
        if size % 2:
            odd.append(y.narrow(dim, size - 1, 1))
        y = y.narrow(dim, 0, half) + y.narrow(dim, half, half)
        size = half
    for rest in odd:
        y = y + rest
    return y


def level(name: str, value: Level, x: Tensor) -> Tensor:
    """A noise level in float64: `()`, or `(B,)` for the `B` samples of `x`."""
    tensor = as_tensor(value, dtype=torch.float64)
    if tensor.ndim and tensor.shape != x.shape[:1]:
        raise ValueError(f"{name} must have shape () or ({len(x)},), one for each of x; got {tuple(tensor.shape)}")
    return tensor


def evaluate(
    f: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    alpha: Level,
    sigma: Level,
    event_shape: tuple[int, ...],
    width: int,
) -> Tensor:
    """`f(x, alpha, sigma)` on blocks: x `(N, D, LANES)`; levels float64, `()` or `(N, 1, 1, LANES)`.

    Args:
        f: gives `(N, P, LANES)`; each lane from that lane alone.
        width: elements per sample of the largest temporary of `f`; sets how many blocks are done at once.

    Returns: `(B, P)` in the dtype of `x`.
    """
    batch = check_x(x, event_shape)
    levels = []
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        tensor = level(name, value, x)
        if tensor.ndim:
            tensor = torch.nn.functional.pad(tensor.to(x.device, non_blocking=True), (0, -batch % LANES), value=1.0)
            tensor = tensor.reshape(-1, 1, 1, LANES)
        levels.append(tensor)
    compute = torch.promote_types(x.dtype, torch.float32)
    blocks = to_lanes(x.reshape(batch, torch.Size(event_shape).numel()).to(compute))
    if not batch:
        blocks = blocks.new_zeros(1, *blocks.shape[1:])
        levels = [tensor if tensor.ndim == 0 else tensor.new_ones(()) for tensor in levels]
    step = max(1, PASS // (width * LANES))
    parts = [
        f(blocks[i : i + step], *(lev[i : i + step] if lev.ndim else lev for lev in levels))
        for i in range(0, len(blocks), step)
    ]
    return from_lanes(torch.cat(parts), batch).to(x.dtype)


def check_x(x: Tensor, event_shape: tuple[int, ...]) -> int:
    """The batch size of `x`, refused unless `(B, *event)` and floating-point."""
    if tuple(x.shape[1:]) != tuple(event_shape) or x.ndim == 0:
        raise ValueError(f"x must have shape (B, {', '.join(map(str, event_shape))}); got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating-point; got {x.dtype}")
    return len(x)
