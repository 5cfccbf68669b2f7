"""Two predictions and a weight: classifier-free guidance and autoguidance.

    D = B + w (C - B),      the score of  p_C(x)^w p_B(x)^(1 - w)  at each noise level by itself

w = 1 is C, w = 0 is B, for one evaluation and to the last bit; w > 1 goes on beyond C.

    ClassifierFreeGuidance    C: the model given y;    B: without it, or given what to avoid
    Autoguidance              C: a good model;         B: a worse one of the same data, whose errors point the same way
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.guidance.predictions import for_all, predictions
from scorefield.guidance.products import Product, require_one_schedule
from scorefield.guidance.rules import Rule, line
from scorefield.schedules import pad_right

Weight = float | Callable[[Tensor], Tensor]
"""A number, or a function of the noise ratio sigma / alpha, elementwise."""


class Pair(Product):
    """Guidance from the second expert past the first; subclasses say what they are.

    Called with `guidance` among its conditions, `(B,)` are the samples' own weights, and a number is one for all.

    Raises:
        ValueError: for a weight that is not finite or has entries of its own; when called, for a `guidance` that is not
            one for each of x_t; for `exponents` where weight or rule vary with the noise.
    """

    def __init__(self, weight: Weight, rule: Rule) -> None:
        super().__init__()
        if not callable(weight):
            if isinstance(weight, Tensor) and weight.ndim:
                raise ValueError("weight must be a number or a function; each sample's own go in as cond['guidance']")
            weight = float(weight)
            if not math.isfinite(weight):
                raise ValueError(f"weight must be finite; got {weight}")
        self.weight, self.rule = weight, rule

    @property
    def exponents(self) -> tuple[float, ...]:
        if callable(self.weight) or self.rule is not line:
            raise ValueError(
                f"{type(self).__name__} is a product of densities for a constant weight and no other rule; "
                f"got {self.weight} and {self.rule}"
            )
        return self.weight, 1 - self.weight

    def forward(self, x_t: Tensor, t: Tensor | float, *, guidance: Tensor | float | None = None, **cond: Any) -> Tensor:
        told = Conditions.of({"guidance": guidance, **cond}, len(x_t), x_t.dtype, x_t.device)
        own = told.pop("guidance")
        w: Any = self.weight if own is None else own
        w = w(self.schedule.noise_ratio(t)) if callable(w) else w
        if not isinstance(w, Tensor) or not w.ndim:
            w = float(w)
            if w in (0, 1):
                return self.experts([0 if w else 1], x_t, t, **told)[0]
            c, b = self.experts([0, 1], x_t, t, **told)
            return self.rule(c, b, w)
        if w.shape != x_t.shape[:1]:
            raise ValueError(f"guidance must have shape ({len(x_t)},), one for each of x_t; got {tuple(w.shape)}")
        c, b = self.experts([0, 1], x_t, t, **told)
        w = pad_right(w, x_t)
        return torch.where(w == 1, c, torch.where(w == 0, b, self.rule(c, b, w)))


class ClassifierFreeGuidance(Pair):
    """The conditional model, pushed away from the unconditional one (Ho & Salimans 2022).

        eps = eps(none) + w (eps(y) - eps(none))

    Their own weight is w - 1. A network that takes `null` is called once with twice the batch; any other denoiser
    twice, with its conditions and without.

    Args:
        denoiser: takes its conditions as optional, e.g. a network trained with condition dropout.
        weight: w, or a function of sigma / alpha such as `Interval`.
        negative: conditions of one sample, such as `{"label": 3}`: what to be pushed away from, in place of `none`.
        rule: how the two become one: `rules.line`, `Rescaled` or `Projected`.

    Raises:
        ValueError: when called without any condition.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weight: Weight,
        *,
        negative: Mapping[str, Any] | None = None,
        rule: Rule = line,
    ) -> None:
        super().__init__(weight, rule)
        self.denoiser, self.negative = denoiser, dict(negative or {})
        self._like(denoiser)

    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        if not cond:
            raise ValueError("classifier-free guidance needs a condition, e.g. cond={'label': ...}; got none")
        terms = [cond, for_all(self.negative, x_t) or None]
        return predictions(self.denoiser, x_t, t, [terms[i] for i in which])


class Autoguidance(Pair):
    """A model, pushed away from a worse version of itself: smaller, or less trained (Karras et al. 2024).

    What guides is the difference of the two where both are unsure, not a condition: unconditional models take it too.

    Args:
        good, bad: of the same data and schedule; every condition is passed to both.
        weight: w: 1 is `good`, 0 is `bad`; or a function of sigma / alpha.
        rule: as in ClassifierFreeGuidance.
    """

    def __init__(self, good: Denoiser, bad: Denoiser, weight: Weight, *, rule: Rule = line) -> None:
        super().__init__(weight, rule)
        require_one_schedule(good, bad)
        self.good, self.bad = good, bad
        self._like(good)

    def experts(self, which: Sequence[int], x_t: Tensor, t: Tensor | float, **cond: Any) -> list[Tensor]:
        return [(self.good, self.bad)[i](x_t, t, **cond) for i in which]
