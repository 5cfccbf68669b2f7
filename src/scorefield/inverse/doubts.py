"""What a posterior's samples say against themselves: numbers that no right posterior has.

If x and y are of the model, a draw given y and the truth are exchangeable, so chi2 of a draw, averaged over y, is that
of the truth: M, give or take sqrt(2 M). Of one y it may be more, where the prior knows better; so a doubt is twice or a
quarter of it, and six standard deviations. Large: what diverged, or never saw y. Small: what fitted the noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RESIDUAL = 0.1  # of a linear system's right side, left over
FEW = 1.5  # particles that share a system's weight

WIDE = (
    "do not explain what was measured: chi2 / M is {:.2g}, and about 1 where all is right; the method diverged, or the "
    "noise is more than noise_std, or these data are not the prior's"
)
NEAR = "fit the noise too, and are too narrow: chi2 / M is {:.2g}, and about 1 where all is right"


def doubts(
    x: Tensor, dof: int, chi2: Tensor | None, ess: Tensor | None, residual: Tensor | None, size: int
) -> list[str]:
    """Lines, none where all is well; arguments as of `PosteriorSamples`, `size` the particles of a system."""
    said, whole = [], torch.isfinite(x).flatten(2).all(2)
    if lost := int((~whole).sum()):
        said.append(f"{lost} of {whole.numel()} samples are not finite")
    if chi2 is not None and dof > 0:
        mean = chi2.double().where(whole.to(chi2.device), math.nan).nanmean(1)
        far = 6 * math.sqrt(2 * dof)
        for which, what in ((mean > max(2 * dof, dof + far), WIDE), (mean < min(dof / 4, dof - far), NEAR)):
            if bool(which.any()):
                of = "" if len(which) == 1 else f" of {int(which.sum())} of {len(which)} observations"
                said.append(f"the samples{of} {what.format(float(mean[which].mean()) / dof)}")
    if residual is not None and bool((residual > RESIDUAL).any()):
        said.append(f"linear systems were left with {float(residual.max()):.2g} of their right side unsolved")
    if ess is not None and size > 1 and bool((ess * size < FEW).any()):
        few = float((ess * size).min())
        said.append(f"{few:.1f} of {size} particles had all the weight: what is drawn may be one mode of several")
    return said
