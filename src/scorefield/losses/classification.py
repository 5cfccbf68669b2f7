"""Cross-entropy at a noise level: what a classifier that guides is trained by.

    -log p_phi(y | x_t),    x_t = alpha x0 + sigma eps

whose minimiser is p(y | x_t) = E[p(y | x0) | x_t], and whose least mean is the entropy of y given x_t: nothing at low
noise where the classes are apart, and the whole entropy of y at high noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scorefield.conditions import Conditions, for_each
from scorefield.losses.denoising import draw
from scorefield.losses.times import TimeLaw
from scorefield.losses.weights import Weight
from scorefield.randomness import Randomness


def classification(
    classifier: Callable[[Tensor, Tensor | float], Tensor] | Any,
    x0: Tensor,
    *,
    t: Tensor | None = None,
    eps: Tensor | None = None,
    generator: Randomness = None,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """-log p(label | x_t) in nats, `(B,)`.

    Args:
        classifier: `classifier(x_t, t)` are logits `(B, classes)`; it has a `schedule`.
        x0: clean data, `(B, *event)`, in the classifier's units.
        cond: holds `label`, `(B,)` int64 in 0 .. classes - 1, or one for all. Nothing else in it is used.
        t, eps, generator, weight, times: as in `denoising`.

    Raises:
        ValueError: without labels, or for a label that is no class.

    References:
        Dhariwal & Nichol 2021, appendix H.
    """
    label = Conditions.of(cond, len(x0), x0.dtype, x0.device).get("label")
    if label is None:
        raise ValueError("classification needs labels: cond={'label': ...}; got none")
    label = for_each("label", label, x0)
    t, eps = draw(x0, t, eps, generator, times)
    logits = classifier(classifier.schedule.perturb(x0, t, eps), t)
    if label.is_cpu and len(label) and not 0 <= int(label.min()) <= int(label.max()) < logits.shape[1]:
        raise ValueError(f"label must lie in 0..{logits.shape[1] - 1}; got {int(label.min())}..{int(label.max())}")
    loss = F.cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, label, reduction="none")
    return loss if weight is None else weight(classifier.schedule, t).to(loss) * loss
