"""Distributions whose noised laws are known.

With x0 ~ p and x_t = alpha x0 + sigma eps, eps ~ N(0, I), a distribution answers, without a network and without error,

    log p_t(x)          the log-density of x_t                 `log_prob_at`
    grad_x log p_t(x)   the score                              `score_at`
    E[x0 | x_t]         the posterior mean, the denoiser       `denoise`

and `log_prob`, `score` are these at alpha = 1, sigma = 0. Tweedie's formula ties the last two,

    alpha E[x0 | x_t] = x_t + sigma^2 grad log p_t(x_t),

but neither is computed from the other here: the sum loses all digits where alpha or sigma is small.

Numbers of one sample do not depend on the rest of its batch: to the last bit where no matrix has more than 16 entries
(2-D laws of a few components, boxes), else to rounding (CPU, one thread).
"""

from __future__ import annotations

import abc
import copy
from typing import Any, Self

import torch
from torch import Tensor

from scorefield.randomness import Randomness
from scorefield.tensors import as_tensor

Level = float | Tensor
"""A noise level: a float, or a tensor of shape `()` or `(B,)`, one for each sample."""


class Distribution(abc.ABC):
    """A probability law on `event_shape`: a value, not a module; nothing in it is learnt.

    Attributes:
        event_shape: shape of one sample.
        dtype: of samples, `mean` and `variance`. Densities are computed in the dtype of the `x` they are given.
        device: where the parameters live.
    """

    event_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    @abc.abstractmethod
    def mean(self) -> Tensor:
        """E[x], `(*event)`."""

    @property
    @abc.abstractmethod
    def variance(self) -> Tensor:
        """Marginal variances Var[x_i], `(*event)`."""

    @abc.abstractmethod
    def sample(self, n: int, *, generator: Randomness = None) -> Tensor:
        """n independent draws, `(n, *event)`, of a generator on the distribution's device, or of a Stream of n samples,
        whose draws are keyed by sample."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, `(B,)`, for `x` `(B, *event)`."""
        return self.log_prob_at(x, 1.0, 0.0)

    def score(self, x: Tensor) -> Tensor:
        """grad_x log p(x), shape and dtype of `x` `(B, *event)`."""
        return self.score_at(x, 1.0, 0.0)

    @abc.abstractmethod
    def noised(self, alpha: float, sigma: float) -> Distribution:
        """The law of alpha x0 + sigma eps, eps ~ N(0, I), as a distribution of its own."""

    @abc.abstractmethod
    def denoise(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """E[x0 | x_t = alpha x0 + sigma eps], shape and dtype of `x_t` `(B, *event)`.

        `alpha`, `sigma`: floats or tensors, `()` or `(B,)`. At sigma = 0 it is x_t / alpha, at alpha = 0 the mean.
        """

    @abc.abstractmethod
    def log_prob_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """log p_t(x_t) in nats, `(B,)`: the density of x_t = alpha x0 + sigma eps; levels as in `denoise`."""

    @abc.abstractmethod
    def score_at(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """grad log p_t(x_t), shape and dtype of `x_t` `(B, *event)`; levels as in `denoise`."""

    def to(self, *args: Any) -> Self:
        """A copy on another device, of another dtype, or both: `to(dtype)`, `to("cuda")`, `to("cuda", dtype)`."""
        device, dtype = self.device, self.dtype
        for arg in args:
            if isinstance(arg, torch.dtype):
                dtype = check_dtype(arg)
            else:
                device = torch.device(arg)
        new = copy.copy(self)
        new._move(device, dtype)
        return new

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(event_shape={self.event_shape}, dtype={self.dtype}, device={self.device})"


def check_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype, refused unless float32 or float64.

    Raises:
        ValueError: for another.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype}")
    return dtype


def parameter(name: str, value: Any, *shape: int | str) -> Tensor:
    """A finite float tensor that no caller can change. `shape` holds sizes, or letters for free ones.

    Raises:
        ValueError: for another shape, an empty one, or an entry that is not finite.
    """
    tensor = as_tensor(value).detach()
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    expected = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    fits = tensor.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {expected}; got {tuple(tensor.shape)}")
    if 0 in tensor.shape:
        raise ValueError(f"{name} must not be empty; got shape {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{name} must be finite; {bad} of its {tensor.numel()} entries are NaN or infinite")
    return tensor.clone()


def common(*tensors: Tensor) -> torch.dtype:
    """The dtype the parameters promote to, float32 or float64."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return check_dtype(dtype)


def check_weights(weights: Tensor) -> Tensor:
    """Probabilities in float64; those off by rounding are made to sum to 1, those further off are refused.

    Raises:
        ValueError: for a negative weight, or a sum off 1 by more than 1e-4.
    """
    weights = weights.double()
    total = float(weights.sum())
    if float(weights.min()) < 0:
        raise ValueError(f"weights must be non-negative; got a smallest one of {float(weights.min()):g}")
    if abs(total - 1) > 1e-4:
        raise ValueError(f"weights must sum to 1 (within 1e-4); got a sum of {total:g}. Divide them by their sum.")
    return weights / total


def check_levels(alpha: float, sigma: float) -> tuple[float, float]:
    """Both as floats, refused unless finite, non-negative and not both 0.

    Raises:
        ValueError: for any other.
    """
    alpha, sigma = float(alpha), float(sigma)
    if not (0 <= alpha < float("inf") and 0 <= sigma < float("inf") and alpha + sigma > 0):
        raise ValueError(f"alpha and sigma must be finite, >= 0 and not both 0; got alpha={alpha:g}, sigma={sigma:g}")
    return alpha, sigma
