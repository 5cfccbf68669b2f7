"""The evidence lower bound of each sample, with its Monte-Carlo error.

It is the negative of `losses.continuous_bound`, in which one (t, eps) gives an unbiased estimate: here the mean over
`draws` of them, t stratified over equal parts of its law. Neighbouring strata have nearly the same mean, so half the
squared difference of their values estimates their variance, from above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode, require
from scorefield.likelihood.divergence import FIRST_DRAW
from scorefield.losses import Importance, continuous_bound
from scorefield.randomness import Noise
from scorefield.tensors import require_batch

OWN_DRAWS = FIRST_DRAW + 2**20  # others than those of probes and dequantisation


class Elbo(NamedTuple):
    """What `elbo` returns."""

    elbo: Tensor  # (B,) nats
    stderr: Tensor  # (B,) nats


@in_eval_mode
@torch.no_grad()
def elbo(
    denoiser: Denoiser,
    x: Tensor,
    *,
    draws: int = 32,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    transform: Transform | None = None,
    s_min: float = grids.S_MIN,
    s_max: float = 1e3,
) -> Elbo:
    """A lower bound on log p of `x` `(B, *event)`, nats, on average below `log_prob` by what is not reversible.

    The model it bounds is the reverse SDE's, not the ODE's: the two have one density if the denoiser is exact.

    Args:
        draws: evaluations a sample, even; t from as many strata uniform in log-SNR.
        denoiser, x, seed, first_index, cond, transform, s_min, s_max: as for `log_prob`.

    Raises:
        ValueError: for an odd number of draws, or less than 2, or a condition of another length than x; else as
            `log_prob`.

    References:
        Kingma et al. 2021; Song et al. 2021b, theorem 3.
    """
    require_batch("x", x)
    for what in ("score", "density"):
        require(denoiser, what, "elbo")
    if draws < 2 or draws % 2:
        raise ValueError(f"draws must be even and at least 2; got {draws}")
    d = math.prod(x.shape[1:])
    jacobian = 0.0 if transform is None else transform.log_jacobian(d)
    x = x if transform is None else transform(x)
    told = Conditions.of(cond, len(x), x.dtype, x.device)
    schedule, sd = denoiser.schedule, denoiser.data_std
    t_min, t_max = (float(schedule.time_of_log_snr(-math.log(s * sd))) for s in (s_min, s_max))
    law = Importance(schedule, t_min, t_max)
    index = torch.arange(first_index, first_index + len(x), device=x.device)
    where, noise = Noise(seed, index, (), torch.float64), Noise(seed, index, tuple(x.shape[1:]), x.dtype)
    values = []
    for k in range(draws):
        t = law.quantile((k + where.uniform(OWN_DRAWS + k).cpu()) / draws)
        eps = noise.normal(OWN_DRAWS + k)
        bound = continuous_bound(denoiser, x, t_min=t_min, t_max=t_max, t=t, eps=eps, times=law, cond=told)
        values.append(-bound.double())
    pairs = torch.stack(values).reshape(draws // 2, 2, len(x))
    return Elbo(pairs.mean((0, 1)) + jacobian, pairs.diff(dim=1).square().sum((0, 1)).sqrt() / draws)
