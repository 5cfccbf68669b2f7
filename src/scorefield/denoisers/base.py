"""Denoisers: E[x0 | x_t], the one thing every method here is built on.

From D(x_t, t) = E[x0 | x_t] Tweedie's formula gives the rest,

    eps   = (x_t - alpha D) / sigma
    score = -eps / sigma = grad log p_t
    v     = alpha eps - sigma D
    dx/dt = alpha' D + sigma' eps                       (velocity of the probability-flow ODE)
    Cov[x0 | x_t] = (sigma^2 / alpha) dD/dx_t           (second order)

so a model is whatever can denoise, and it carries the schedule of the noise it removes.
"""

from __future__ import annotations

from torch import Tensor, nn

from scorefield.schedules import Schedule


class Denoiser(nn.Module):
    """`denoiser(x_t, t, **cond)` is E[x0 | x_t], of the shape and dtype of `x_t` `(B, *event)`; `t` is `()` or `(B,)`.

    Write your own by setting `schedule` and defining `forward(x_t, t, **cond)`: nothing else is required. What reaches
    it as a condition is what `scorefield.conditions` says: tensors `(B, ...)`, and what all samples share. `data_mean`
    and `data_std` describe the data (where sampling starts, and how solvers place their steps); 0 and 1 unless known.
    `data_range` is the smallest and the largest entry the data can have, None where there is none or it is not known:
    `sample` says how many samples left it, and `ClippedDenoiser` keeps predictions inside. A checkpoint's is that of
    its transform.
    """

    schedule: Schedule
    data_mean: Tensor | float = 0.0
    data_std: float = 1.0
    data_range: tuple[float, float] | None = None

    def _like(self, denoiser: Denoiser) -> None:
        """Takes over the schedule of another, and what it says of its data."""
        self.schedule, self.data_mean, self.data_std = denoiser.schedule, denoiser.data_mean, denoiser.data_std
        self.data_range = denoiser.data_range
