"""Classifier guidance: Bayes' rule with a classifier of noisy data.

    grad log p_t(x | y) = grad log p_t(x) + grad log p(y | x_t),     so with a weight w on the second term
    D = E[x0 | x_t] + w (sigma^2 / alpha) grad_x log p(y | x_t)

w = 1 is the conditional model and w = 0 the one it is made from. The classifier must know noisy data at every level:
p(y | x_t) is the mean of p(y | x0) over the posterior of x0, which at high noise says next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.conditions import Conditions, for_each
from scorefield.denoisers import Denoiser, NoiseConditional
from scorefield.denoisers.base import require
from scorefield.schedules import pad_right
from scorefield.tensors import as_tensor


class NetworkClassifier(NoiseConditional):
    """`classifier(x_t, t)` is the logits of p(y | x_t), `(B, classes)`; `parameterization` only scales the input.

    Train it with `losses.classification`, or `scorefield train --task classifier`.
    """

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return self.output(x_t, t)


class ClassifierGuidance(Denoiser):
    """A model, conditioned by a classifier it was not trained with (Dhariwal & Nichol 2021).

    Called with `label`, `(B,)` int64 or a class for all, which the classifier is asked for and the denoiser is not
    told; other conditions go to the denoiser. Without a label it is the denoiser itself.

    Args:
        denoiser: of p(x), or of p(x | ...) given other conditions.
        classifier: `classifier(x_t, t)` are logits of p(y | x_t), `(B, classes)`, for the denoiser's schedule.
        weight: w, or a function of sigma / alpha such as `Interval`.

    Raises:
        ValueError: when called where alpha = 0 with a label.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        classifier: Callable[[Tensor, Tensor | float], Tensor],
        weight: float | Callable[[Tensor], Tensor] = 1.0,
    ) -> None:
        super().__init__()
        self.denoiser, self.classifier, self.weight = denoiser, classifier, weight
        require(denoiser, "score", type(self).__name__)
        self._like(denoiser)

    def forward(self, x_t: Tensor, t: Tensor | float, *, label: Tensor | int | None = None, **cond: Any) -> Tensor:
        told = Conditions.of({"label": label, **cond}, len(x_t), x_t.dtype, x_t.device)
        label = told.pop("label")
        d = self.denoiser(x_t, t, **told)
        alpha, sigma = self.schedule(t)
        w = self.weight(sigma / alpha) if callable(self.weight) else self.weight
        if label is None or (not isinstance(w, Tensor) and w == 0):
            return d
        if bool((alpha == 0).any()):
            raise ValueError("classifier guidance is undefined where alpha = 0, at t = 1; start the grid below it")
        return d + pad_right(w * sigma**2 / alpha, x_t) * self.log_likelihood_score(x_t, t, label)

    def log_likelihood_score(self, x_t: Tensor, t: Tensor | float, label: Tensor | int) -> Tensor:
        """grad_x log p(label | x_t), of the shape of `x_t`."""
        label = for_each("label", label, x_t)

        def total(x: Tensor) -> Tensor:  # of samples that do not see each other: the gradient is each one's own
            return -F.cross_entropy(self.classifier(x, t), label, reduction="sum")

        return torch.func.grad(total)(x_t)  # inside no_grad and inside other transforms too


class ExactClassifier(nn.Module):
    """The logits log p(y) + log p_t(x_t | y) of classes whose laws are known: what a perfect classifier would say.

    Args:
        distributions: the law of each class, with a density at every noise level.
        weights: p(y), in proportion.
        schedule: of the noise.
    """

    def __init__(self, distributions: Any, weights: Any, schedule: Any) -> None:
        super().__init__()
        self.distributions, self.schedule = tuple(distributions), schedule
        self.log_weights = as_tensor(weights, dtype=torch.float64).log()

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = self.schedule(t)
        logs = torch.stack([d.log_prob_at(x_t, alpha, sigma) for d in self.distributions], 1)
        return logs + self.log_weights.to(logs)
