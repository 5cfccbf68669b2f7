"""A weight learned with the network: each noise level's loss divided by its own size.

With u(t) trained beside the denoiser on

    loss / exp(u(t)) + u(t),

the best u is log E[loss | t], where every level contributes alike whatever the loss was scaled by. It is the maximum-
likelihood scale of a residual whose variance depends on t (Kendall & Gal 2017), and the weight of EDM2 (Karras et al.
2024, eq. 14-15). The denoiser's minimiser is unchanged, as with any weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.denoisers import Denoiser
from scorefield.losses.denoising import denoising, draw
from scorefield.losses.times import TimeLaw
from scorefield.networks.embeddings import Sinusoidal
from scorefield.networks.layers import zero
from scorefield.randomness import Randomness
from scorefield.schedules import Schedule, as_time


class Uncertainty(nn.Module):
    """`uncertainty(denoiser, x0, ...)` is loss / exp(u(t)) + u(t), `(B,)`: give its parameters to the optimiser too.

    u is linear in Fourier features of log(sigma / alpha) / 4 and starts at 0, where this is the loss itself.

    Args:
        loss: any of `losses` with a positive mean, called as `loss(denoiser, x0, t=..., eps=..., generator=..., ...)`.
        features: how many Fourier features; more let u change faster with the noise level.
    """

    def __init__(self, loss: Callable[..., Tensor] = denoising, *, features: int = 32) -> None:
        super().__init__()
        self.loss = loss
        self.features = Sinusoidal(features, low=0.25, high=4.0)
        self.linear = zero(nn.Linear(features, 1))

    def u(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The learned log of the loss at `t`, shape of `t`."""
        own = next(self.linear.parameters())
        level = torch.clamp(-schedule.log_snr(as_time(t)), -40, 40) / 4  # finite at both ends
        return self.linear(self.features(level.to(own).reshape(-1))).reshape(t.shape)

    def forward(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        *,
        t: Tensor | None = None,
        eps: Tensor | None = None,
        generator: Randomness = None,
        times: TimeLaw | None = None,
        **options: Any,
    ) -> Tensor:
        """`(B,)`; arguments as for `denoising`, any others handed to the loss."""
        t, eps = draw(x0, t, eps, generator, times)
        loss = self.loss(denoiser, x0, t=t, eps=eps, generator=generator, **options)
        u = self.u(denoiser.schedule, t).to(loss)
        return loss * torch.exp(-u) + u
