"""Products of experts: one field from several predictions.

The density prod_i p_i(x)^w_i has the score sum_i w_i grad log p_i. Taken at every noise level this gives

    D = sum_i w_i D_i + (1 - sum_i w_i) x_t / alpha,          D_i = E_i[x0 | x_t],

whose last term is absent where the weights add up to 1. Classifier-free guidance, conjunctions, negations and
autoguidance are of this form. Each is a Denoiser, so any solver samples it, and the flow it defines has a likelihood;
but D is not the denoiser of prod_i p_i(x)^w_i, for noising a product is not the product of the noised:

    law of alpha x0 + sigma eps, x0 ~ prod_i p_i^w_i / Z    is not    prod_i p_i,t(x_t)^w_i / Z_t,

so what a solver makes of it is in general neither at t = 0. `feynman_kac` weights particles so that it is the latter at
every t, and at t = 0 the product itself. Sums of densities, `Mixture`, have no such gap.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser, ExactDenoiser
from scorefield.guidance.predictions import for_all, predictions
from scorefield.schedules import Schedule, pad_right


class Product(Denoiser, abc.ABC):
    """prod_i p_i^w_i: subclasses say what the experts are, and their exponents w_i."""

    @property
    @abc.abstractmethod
    def exponents(self) -> tuple[float, ...]:
        """w_i, one for each expert.

        Raises:
            ValueError: where there are no constants that say it all.
        """

    @abc.abstractmethod
    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        """E_i[x0 | x_t] of the experts `which`, each of the shape of `x_t`."""

    def active(self) -> tuple[list[int], list[float]]:
        """The experts whose exponent is not 0, and their exponents: the others are not evaluated."""
        which = [i for i, w in enumerate(self.exponents) if w]
        return which, [self.exponents[i] for i in which]

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        told = Conditions.of(cond, len(x_t), x_t.dtype, x_t.device)
        which, weights = self.active()
        return combine(self.experts(which, x_t, t, **told), weights, x_t, self.schedule, t)


def combine(
    parts: Sequence[Tensor], weights: Sequence[float], x_t: Tensor, schedule: Schedule, t: Tensor | float
) -> Tensor:
    """sum_i w_i D_i + (1 - sum_i w_i) x_t / alpha; the only part itself, to the bit, where its weight is 1.

    Raises:
        ValueError: where alpha = 0 and the weights do not add up to 1.
    """
    first, excess = parts[0], math.fsum(weights) - 1
    d = first
    for w, part in zip(weights[1:], parts[1:], strict=True):
        d = d + w * (part - first)  # small differences, not sums of large terms
    if abs(excess) < 1e-12:
        return d
    alpha, _ = schedule(t)
    if bool((alpha == 0).any()):
        raise ValueError("weights must add up to 1 where alpha = 0, at t = 1; start the grid below it")
    return d + excess * (first - x_t / pad_right(alpha, x_t))


class ProductOfExperts(Product):
    """prod_i p_i^w_i of several models of the same data space and schedule; w_i < 0 avoids what model i likes.

    One model with a weight other than 1 is its tempered density p^w. Sampling starts from the Gaussian of the first
    model, which for weights that do not add up to 1 is too wide by sqrt(sum_i w_i): `feynman_kac` knows.

    Args:
        denoisers: the experts; every condition is passed to each.
        weights: w_i, not all 0; their sum must be positive for prod_i p_i^w_i to have a finite integral at high noise.

    Raises:
        ValueError: for weights that are not one for each expert, finite and of positive sum.

    References:
        Hinton 2002 (products of experts); Liu et al. 2022; Du et al. 2023.
    """

    def __init__(self, denoisers: Sequence[Denoiser], weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = _weights(weights, len(denoisers))
        if not sum(self.weights) > 0:
            raise ValueError(f"weights must have a positive sum; got {list(self.weights)}")
        require_one_schedule(*denoisers)
        self.denoisers = nn.ModuleList(denoisers)
        self._like(denoisers[0])

    @property
    def exponents(self) -> tuple[float, ...]:
        return self.weights

    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        return [self.denoisers[i](x_t, t, **cond) for i in which]


class Conjunction(Product):
    """All of several conditions of one model: p(x) prod_i (p(x | y_i) / p(x))^w_i, for conditions independent given x.

        D = D(none) + sum_i w_i (D(y_i) - D(none))

    w_i < 0 is a negation: not y_i. Conditions passed when it is called hold for all terms, `none` included.

    Args:
        denoiser: takes its conditions as optional, e.g. a network trained with condition dropout.
        conditions: each of one sample, without a batch dimension: `[{"label": 3}, {"vector": v}]`, v `(k,)`.
        weights: w_i; 1 unless given.

    Raises:
        ValueError: for no condition or an empty one, or weights that are not one for each, finite and not all 0.

    References:
        Liu et al. 2022, Compositional visual generation with composable diffusion models (eq. 11, 13).
    """

    def __init__(
        self, denoiser: Denoiser, conditions: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if not conditions or not all(conditions):
            raise ValueError(f"conditions must hold at least one, none of them empty; got {list(conditions)}")
        self.denoiser, self.conditions = denoiser, tuple(dict(c) for c in conditions)
        self.weights = _weights([1.0] * len(conditions) if weights is None else weights, len(conditions))
        self._like(denoiser)

    @property
    def exponents(self) -> tuple[float, ...]:
        return (1 - math.fsum(self.weights), *self.weights)

    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        terms = [cond or None, *({**cond, **for_all(c, x_t)} for c in self.conditions)]
        return predictions(self.denoiser, x_t, t, [terms[i] for i in which])


class Mixture(Denoiser):
    """sum_i w_i p_i: any of several, the denoiser of the mixture itself.

        D = sum_i r_i(x_t) D_i,      r_i = w_i p_i,t(x_t) / sum_j w_j p_j,t(x_t)

    The responsibilities r_i need log-densities at every noise level, so the parts are exact denoisers. To sample a
    mixture of trained models, none is needed: draw the part for each sample with probability w_i, and sample it.

    Args:
        denoisers: of distributions with a density at every noise level.
        weights: not negative, w_i / sum_j w_j the share of part i.

    Raises:
        ValueError: for parts that are not exact denoisers, or weights that are not one for each, finite, not negative
            and not all 0.
    """

    def __init__(self, denoisers: Sequence[ExactDenoiser], weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = _weights(weights, len(denoisers))
        if min(self.weights) < 0:
            raise ValueError(f"weights must not be negative; got {list(self.weights)}")
        if not all(isinstance(d, ExactDenoiser) for d in denoisers):
            raise ValueError("denoisers must be ExactDenoisers: the weight of a part is its density; see the docstring")
        require_one_schedule(*denoisers)
        self.denoisers = nn.ModuleList(denoisers)
        share = torch.tensor(self.weights, dtype=torch.float64, device="cpu") / math.fsum(self.weights)
        means = torch.stack([d.distribution.mean.double() for d in denoisers])
        variances = torch.stack([d.distribution.variance.double() for d in denoisers])
        share = pad_right(share.to(means.device), means)
        mean = (share * means).sum(0)
        self.schedule = denoisers[0].schedule
        self.data_mean = mean
        self.data_std = float((share * (variances + (means - mean) ** 2)).sum(0).mean().sqrt())

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = self.schedule(t)
        which = [(w, d) for w, d in zip(self.weights, self.denoisers, strict=True) if w]
        log_r = torch.stack([d.distribution.log_prob_at(x_t, alpha, sigma) + math.log(w) for w, d in which])  # type: ignore
        r = torch.softmax(log_r, 0)
        terms = [pad_right(share.to(x_t), x_t) * d(x_t, t) for share, (_, d) in zip(r, which, strict=True)]
        return torch.stack(terms).sum(0)


def require_one_schedule(*models: Any) -> None:
    """Refuses models that do not see the same noise at the same time.

    Raises:
        ValueError: for those, with two of their schedules.
    """
    t = torch.linspace(0, 1, 9, dtype=torch.float64, device="cpu")
    first = torch.stack(models[0].schedule(t))
    for model in models[1:]:
        if not torch.allclose(torch.stack(model.schedule(t)), first, rtol=1e-6, atol=1e-8):
            raise ValueError(
                f"models must share one schedule, the same noise at the same time; got {models[0].schedule} and "
                f"{model.schedule}"
            )


def _weights(weights: Sequence[float], n: int) -> tuple[float, ...]:
    values = tuple(float(w) for w in weights)
    if len(values) != n or not n:
        raise ValueError(f"weights must be one number for each of the {n} parts; got {len(values)}")
    if not all(map(math.isfinite, values)) or not any(values):
        raise ValueError(f"weights must be finite and not all 0; got {list(values)}")
    return values
