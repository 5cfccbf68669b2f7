"""Bits per dimension of integers.

With y = x_raw + u, u ~ U[0, 1)^d, the model of y is one of the integers, P(x_raw) = E_u p(x_raw + u), and by Jensen's
inequality the mean over K draws gives two lower bounds on log P (Theis et al. 2016; Burda et al. 2016),

    E (1/K) sum_k log p(x_raw + u_k)  <=  E log (1/K) sum_k p(x_raw + u_k)  <=  log P(x_raw),

the second, importance-weighted one tighter as K grows. It needs log p without noise: a random error of variance v in
log p adds v / 2 to the logarithm of its exponential's mean, and the bound would be none.

With a `Dequantizer` u ~ q(u | x_raw) instead, and log p - log q takes the place of log p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from scorefield import data
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.likelihood.density import log_prob
from scorefield.likelihood.dequantization import Dequantizer
from scorefield.likelihood.divergence import FIRST_DRAW, Divergence
from scorefield.randomness import Noise, Stream


class BitsPerDim(NamedTuple):
    """What `bits_per_dim` returns: upper bounds on code lengths, in bits per dimension."""

    bits: Tensor  # (B,), mean over the draws
    probe: Tensor  # (B,), of the divergence: its standard error
    solver: Tensor  # (B,), as in `LogProb`
    truncation: Tensor  # (B,)
    importance_weighted: Tensor | None  # (B,), the tighter bound, for the exact divergence
    evaluations: Tensor  # (B,), over all draws

    @property
    def mean(self) -> float:
        """Over the data."""
        return float(self.bits.mean())

    @property
    def stderr(self) -> float:
        """Of `mean`: the spread over the data, which the noise of probes and draws is part of, and the mean of what the
        solver and the ends may be off by, which does not average out."""
        spread = float(self.bits.std()) / math.sqrt(len(self.bits)) if len(self.bits) > 1 else math.nan
        return math.sqrt(spread**2 + float(self.solver.mean()) ** 2 + float(self.truncation.mean()) ** 2)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high) of the mean over all data that these were drawn from.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}")
        half = float(stats.t.ppf((1 + level) / 2, max(len(self.bits) - 1, 1))) * self.stderr
        return self.mean - half, self.mean + half


def bits_per_dim(
    denoiser: Denoiser,
    x_raw: Tensor,
    transform: Transform,
    *,
    draws: int = 1,
    tolerance: float = 1e-3,
    probes: int | None = None,
    divergence: Divergence | None = None,
    dequantizer: Dequantizer | None = None,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    **options: Any,
) -> BitsPerDim:
    """-log2 P(x_raw) / d of integers `x_raw` `(B, *event)`, from above.

    Args:
        transform: the one the model was trained through; it has levels.
        draws: K; dequantisation noise and probes of each are a function of (seed, first_index + i, draw).
        tolerance, probes, divergence, cond, options: as for `log_prob`.
        dequantizer: the law of the noise within a grey level; uniform unless given.

    Raises:
        ValueError: for data that never were integers, a model that saw them bare, or a condition of another length.
    """
    if transform.levels is None:
        raise ValueError(
            "bits per dimension are for integers, and these data are continuous: log_prob gives their density"
        )
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}")
    low, high = (float(end) for end in torch.aminmax(x_raw)) if x_raw.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= transform.levels - 1) or (x_raw.is_floating_point() and bool((x_raw % 1 != 0).any())):
        raise ValueError(f"x_raw must be integers in 0..{transform.levels - 1}; got values in {low:g}..{high:g}")
    d = math.prod(x_raw.shape[1:])
    data.bits_per_dim(torch.zeros(1, device="cpu"), transform, d)  # refuses a model of bare integers, before any work
    told = Conditions.of(cond, len(x_raw))
    index = torch.arange(first_index, first_index + len(x_raw), device=x_raw.device)
    noisy = [_noisy(x_raw, seed, index, k, dequantizer) for k in range(draws)]
    results = [
        log_prob(
            denoiser,
            noisy[k][0],
            transform=transform,
            tolerance=tolerance,
            probes=probes,
            divergence=divergence,
            seed=(seed + k * 2**32) % 2**64,  # other probes for each draw
            first_index=first_index,
            cond=told,
            **options,
        )
        for k in range(draws)
    ]
    unit = d * math.log(2)
    log_p = torch.stack([r.log_prob - log_q for r, (_, log_q) in zip(results, noisy, strict=True)])
    exact = math.isinf(results[0].degrees)
    weighted = -(torch.logsumexp(log_p, 0) - math.log(draws)) / unit if exact and draws > 1 else None
    return BitsPerDim(
        -log_p.mean(0) / unit,
        torch.stack([r.probe for r in results]).square().mean(0).sqrt() / math.sqrt(draws) / unit,
        torch.stack([r.solver for r in results]).mean(0) / unit,
        torch.stack([r.truncation for r in results]).mean(0) / unit,
        weighted,
        torch.stack([r.evaluations for r in results]).sum(0),
    )


def dequantized(x_raw: Tensor, seed: int, index: Tensor, draw: int = 0) -> Tensor:
    """y = x_raw + u, float32, as `bits_per_dim` sees it; u is a function of (seed, index, draw), `index` `(B,)`."""
    stream = Stream(seed, index)
    stream.draw = FIRST_DRAW + 1 + draw  # draw FIRST_DRAW is the probes'
    return data.dequantize(x_raw, stream)


@torch.no_grad()
def _noisy(
    x_raw: Tensor, seed: int, index: Tensor, draw: int, dequantizer: Dequantizer | None
) -> tuple[Tensor, Tensor | float]:
    """(x_raw + u, log q(u | x_raw))."""
    if dequantizer is None:
        return dequantized(x_raw, seed, index, draw), 0.0
    z = Noise(seed, index, tuple(x_raw.shape[1:]), torch.float32).normal(FIRST_DRAW + 1 + draw)
    u, log_q = dequantizer(x_raw, z.to(next(dequantizer.parameters())))
    whole = x_raw.to(torch.float32)
    return torch.minimum(whole + u.float(), torch.nextafter(whole + 1, whole)), log_q.double()
