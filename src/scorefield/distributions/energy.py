"""Densities known up to a constant.

    p(x) = exp(l(x)) / Z,    Z = int exp(l(x)) dx unknown,    score = grad log p = grad l

The score does without Z, and so does a ratio p(y) / p(x), which is all that Langevin dynamics and MALA ask for. What
does need integrals of p is refused: a draw, and the noised law

    p_t(x) = int p(x0) N(x; alpha x0, sigma^2 I) dx0,

with its score and its denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from scorefield.distributions._lanes import check_x
from scorefield.distributions.base import Distribution, Level, common, parameter
from scorefield.randomness import Randomness
from scorefield.tensors import as_tensor

_NO_NOISED = (
    "an Energy's noised law has no closed form: sample it by Langevin or MALA and train a denoiser, or use Empirical"
)


class Energy(Distribution):
    """An unnormalised density, with the score by automatic differentiation: a target for Langevin and MALA.

    `sample`, `noised`, `denoise`, `log_prob_at` and `score_at` at sigma > 0 need more than `log_density` and raise
    NotImplementedError.

    Args:
        log_density: `(B, *event)` -> `(B,)`, in nats up to a constant; each value depends on its own sample alone.
        event_shape: of one sample.
        mean, variance: `(*event)`, where known; asking for one that was not given raises ValueError.

    Raises:
        ValueError: for a log_density that is no function, or returns another shape; for a mean or variance that was not
            given.
        NotImplementedError: for what needs more than `log_density`.
    """

    def __init__(
        self,
        log_density: Callable[[Tensor], Tensor],
        event_shape: Sequence[int],
        mean: Any | None = None,
        variance: Any | None = None,
    ) -> None:
        if not callable(log_density):
            raise ValueError(f"log_density must be a function of (B, *event); got {type(log_density).__name__}")
        self.log_density = log_density
        self.event_shape = tuple(event_shape)
        self._mean = None if mean is None else parameter("mean", mean, *self.event_shape)
        self._variance = None if variance is None else parameter("variance", variance, *self.event_shape)
        known = [value for value in (self._mean, self._variance) if value is not None]
        self.dtype = common(*known) if known else torch.get_default_dtype()
        self.device = known[0].device if known else torch.device("cpu")

    @property
    def mean(self) -> Tensor:
        return self._known("mean", self._mean)

    @property
    def variance(self) -> Tensor:
        return self._known("variance", self._variance)

    def _known(self, name: str, value: Tensor | None) -> Tensor:
        if value is None:
            raise ValueError(f"{name} of this Energy is not known: give it as Energy(..., {name}=...)")
        return value.to(self.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """The unnormalised log-density, `(B,)`: log p(x) up to a constant nobody knows.

        Raises:
            ValueError: for an x of another shape, or a log_density that does not return `(B,)`.
        """
        check_x(x, self.event_shape)
        value = self.log_density(x)
        if value.shape != x.shape[:1]:
            raise ValueError(
                f"log_density must return shape ({len(x)},) for {len(x)} samples; got {tuple(value.shape)}"
            )
        return value

    def score(self, x: Tensor) -> Tensor:
        """grad_x log_density(x), shape of `x`. Samples are independent: the gradient of their sum."""
        check_x(x, self.event_shape)
        return torch.func.grad(lambda y: self.log_prob(y).sum())(x)

    def log_prob_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        self._only_clean(alpha, sigma)
        return self.log_prob(x_t)

    def score_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        self._only_clean(alpha, sigma)
        return self.score(x_t)

    def sample(self, n: int, *, generator: Randomness = None) -> NoReturn:
        raise NotImplementedError("an Energy cannot be sampled directly: run Langevin or MALA on its score")

    def noised(self, alpha: float, sigma: float) -> Distribution:
        self._only_clean(alpha, sigma)
        return self

    def denoise(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        self._only_clean(alpha, sigma)
        return x_t

    def _only_clean(self, alpha: Level, sigma: Level) -> None:
        if bool((as_tensor(sigma) != 0).any()) or bool((as_tensor(alpha) != 1).any()):
            raise NotImplementedError(_NO_NOISED)
