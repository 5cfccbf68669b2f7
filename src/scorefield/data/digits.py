"""The 1,797 handwritten 8x8 digits that come inside scikit-learn: real images without a download."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = 17  # grey values 0..16: each pixel counts the ink in a 4x4 block of the original scan


class Split(NamedTuple):
    """Images as integers in raw units, and their labels."""

    train: Tensor  # (N, C, H, W) uint8
    train_labels: Tensor  # (N,) int64
    test: Tensor
    test_labels: Tensor


def digits(*, test_fraction: float = 0.5, seed: int = 0) -> Split:
    """Images `(N, 1, 8, 8)`, uint8 in 0..16, split within each class; the same split for the same seed.

    Raises:
        ValueError: for a test_fraction outside (0, 1).

    References:
        Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; sklearn.datasets.load_digits.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie in (0, 1); got {test_fraction}")
    from sklearn.datasets import load_digits

    images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    images, labels = images.to(torch.uint8).reshape(-1, 1, 8, 8), labels.to(torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed), device="cpu")
    test = torch.zeros(len(images), dtype=torch.bool, device="cpu")
    for c in range(10):
        of_class = order[labels[order] == c]
        test[of_class[: round(test_fraction * len(of_class))]] = True
    return Split(images[~test], labels[~test], images[test], labels[test])
