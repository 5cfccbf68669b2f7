"""Fréchet distance: W_2^2 between the Gaussians of two feature sets' means and covariances,

    |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2)).

With Inception features it is the FID (Heusel et al. 2017); here the features are yours.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared distance between the features `x` `(N, d)` and `y` `(M, d)`; events are flattened.

    It is biased upwards by about (tr C)(1/N + 1/M) and more: compare sets of equal sizes, and with the floor.

    Raises:
        ValueError: for less than two samples on either side, or events of two sizes.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must hold at least 2 samples each; got {len(x)} and {len(y)}")
    x, y = (s.reshape(len(s), -1).to(torch.float64) for s in (x, y))
    return frechet_gaussian(x.mean(0), torch.cov(x.T).reshape(2 * x.shape[1:]), y.mean(0), torch.cov(y.T))


def frechet_gaussian(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """W_2^2 between N(mean1, cov1) and N(mean2, cov2): `(d,)` and `(d, d)`, singular covariances too.

    Raises:
        ValueError: for events of two sizes.
    """
    d = len(mean1)
    if mean1.shape != mean2.shape:
        raise ValueError(f"x and y must have the same event size; got {d} and {len(mean2)}")
    cov1, cov2 = cov1.reshape(d, d), cov2.reshape(d, d)
    values, vectors = torch.linalg.eigh(cov1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross
    return max(float(distance), 0.0)
