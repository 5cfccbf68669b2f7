"""What a transform owes whoever trains in its units: that it is one, and knows its log-Jacobian."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scorefield.checks.base import Check, close, listed, require, run
from scorefield.data import Transform
from scorefield.randomness import Stream


def of_transform(transform: Transform, raw: Tensor) -> list[Check]:
    """The clauses of `check_transform`, each by itself."""
    y = raw if raw.is_floating_point() else raw.double() + 0.5
    y = y.double()
    dims = math.prod(raw.shape[1:])
    index = torch.arange(len(raw), device=raw.device)

    def shapes() -> None:
        x = transform(y.float())
        require(x.is_floating_point() and len(x) == len(y), "T(y) must be (B, *event), floating point", x)
        require(bool(torch.isfinite(x).all()), "T(y) must be finite", x)
        empty = transform(y[:0])
        require(len(empty) == 0, "an empty batch must come back empty", tuple(empty.shape))

    def inverse() -> None:
        close(transform.inverse(transform(y)).double(), y, "the inverse of T(y) must be y", 1e-4)

    def alone() -> None:
        for i in range(min(len(y), 4)):
            row = slice(i, i + 1)
            close(transform(y[row]), transform(y)[row], "a row alone must agree with the same in a batch", 1e-6)

    def jacobian() -> None:
        """log |det| of the Jacobian by forward differences of one event, where it is square."""
        one = y[:1]
        size = transform(one)[0].numel()
        if size != dims:
            return
        step = 1e-3 * float(y.std().clamp(min=1e-3))
        columns = []
        for k in range(dims):
            at = torch.zeros(dims, dtype=one.dtype, device=one.device)
            at[k] = step
            shift = at.reshape(one.shape)
            columns.append((transform(one + shift) - transform(one - shift)).double().flatten() / (2 * step))
        found = float(torch.linalg.slogdet(torch.stack(columns, 1)).logabsdet)
        said = transform.log_jacobian(dims)
        require(abs(found - said) <= 1e-3 * (1 + abs(found)), f"log_jacobian must be {found:.6g}", said)

    def dequantised() -> None:
        one, two = (transform.dequantize(raw, Stream(0, index)) for _ in range(2))
        require(torch.equal(one, two), "the same Stream must give the same noise", (one - two).abs().max())
        require(one.is_floating_point(), "dequantised data must be floating point", one.dtype)
        if transform.levels is not None:
            again = transform.inverse(one).floor().clamp(0, transform.levels - 1)
            wrong = float((again != raw).double().mean())
            require(wrong == 0, "the grey value of dequantised data must be the one it was made of", wrong)
        some = slice(0, 1)
        alone = transform.dequantize(raw[some], Stream(0, index[some]))
        close(alone, one[some], "a row's noise must not depend on its batch", 1e-6)

    def says() -> None:
        values = [transform.mean, transform.sigma_data]
        right = all(math.isfinite(v) for v in values) and transform.sigma_data > 0
        require(right, "mean must be finite and sigma_data positive", values)

    return listed(
        transform,
        {
            "shapes": shapes, "inverse": inverse, "no row sees its batch": alone, "log-Jacobian": jacobian,
            "dequantisation": dequantised, "mean and sigma_data": says,
        },
    )  # fmt: skip


def check_transform(transform: Transform, raw: Tensor) -> None:
    """It is undone by its inverse, row by row; its log-Jacobian is that of its differences; noise is keyed by sample.

    Args:
        raw: some data as the transform is given them, `(B, *event)`; integers where it has levels.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_transform(transform, raw))
