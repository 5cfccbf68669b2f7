"""The posterior of one theta that made several y, from a model of each alone.

For y_1 .. y_n independent given theta,

    p(theta | y_1 .. y_n)  ~  p(theta)^(1 - n) prod_i p(theta | y_i),

and the plain product of n posteriors would count the prior n times. `feynman_kac` draws from it by weighted particles:
the denoisers' product at each noise level is not the product noised (`guidance.products`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.guidance import Product
from scorefield.schedules import pad_right


class Together(Product):
    """The experts: the prior N(0, I), with exponent 1 - n, and one posterior for each y, with exponent 1.

    Args:
        denoiser: of u given `vector`.
        vectors: `(n, K)`, what it is told of each y.

    Raises:
        ValueError: for no y.
    """

    def __init__(self, denoiser: Denoiser, vectors: Tensor) -> None:
        super().__init__()
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(f"vectors must be (n, K), n at least 1; got {tuple(vectors.shape)}")
        self.denoiser, self.vectors = denoiser, vectors
        self._like(denoiser)

    @property
    def exponents(self) -> tuple[float, ...]:
        return (1.0 - len(self.vectors), *(1.0,) * len(self.vectors))

    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        told = [self.vectors[i - 1].to(x_t) for i in which if i]
        found: list[Tensor] = []
        if told:
            rows = torch.stack(told).repeat_interleave(len(x_t), 0)
            times = torch.as_tensor(t, dtype=torch.float64, device="cpu")
            every = times.repeat(len(told)) if times.ndim else times
            found = list(self.denoiser(x_t.repeat(len(told), 1), every, vector=rows, **cond).split(len(x_t)))
        if 0 not in which:
            return found
        alpha, sigma = self.schedule(torch.as_tensor(t, dtype=torch.float64, device="cpu"))
        prior = pad_right(alpha / (alpha**2 + sigma**2), x_t) * x_t
        found.insert(list(which).index(0), prior)
        return found
