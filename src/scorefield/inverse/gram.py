"""What a measurement sees, direction by direction.

With one noise for all observations, W = diag(1/noise_std) A and W W^T = Q diag(values) Q^T, so that for every c

    (c W W^T + I)^-1 r = r - Q diag(c values / (c values + 1)) Q^T r,    log det (c W W^T + I) = sum log(c values + 1).

Q comes from the operator's own singular vectors where it has them in closed form and the noise is one number, else from
an eigendecomposition of the matrix, for as many numbers measured as `DENSE_LIMIT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.inverse.operators.base import LinearOperator, Operator

DENSE_LIMIT = 2048


class GramSpectrum(NamedTuple):
    """Of W W^T; directions it leaves out have the value 0."""

    values: Tensor  # (K,) float64, not negative
    to: Callable[[Tensor], Tensor]  # Q^T r: (R, M) to (R, K)
    back: Callable[[Tensor], Tensor]  # Q c: (R, K) to (R, M)


def gram_spectrum(operator: Operator, noise_std: Tensor) -> GramSpectrum | None:
    """None where the operator is not linear, or too large to decompose; `noise_std` `()` or `(*output_shape)`."""
    if not isinstance(operator, LinearOperator):
        return None
    shape = tuple(operator.output_shape)
    svd = operator.svd() if noise_std.ndim == 0 else None
    if svd is not None:
        values = (svd.singular_values.double() / float(noise_std)).square()
        return GramSpectrum(values, lambda r: svd.ut(r.reshape(len(r), *shape)), lambda c: svd.u(c).flatten(1))
    size = math.prod(shape)
    if size > DENSE_LIMIT:
        return None
    w = operator.dense() / noise_std.double().cpu().expand(shape).reshape(-1, 1)
    values, vectors = torch.linalg.eigh(w @ w.T)
    return GramSpectrum(values.clamp(min=0.0), lambda r: r @ vectors.to(r), lambda c: c @ vectors.T.to(c))
