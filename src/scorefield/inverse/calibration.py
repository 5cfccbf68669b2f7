"""Does a posterior sampler mean what it says? Truths from the prior, measurements of them, samples, and the checks.

`calibration` draws y_i = A(x_i) + n_i for truths x_i, n samples of each posterior, and asks of them all that
`metrics.calibration` can: ranks, coverage, and TARP with references made of y (one step of steepest descent on the
misfit from the data's mean), which tell a posterior from a prior. Beside it stands the posterior predictive p-value,

    P(chi2_M >= chi2(y, x))    averaged over the samples x,

the probability that new noise makes a larger misfit than the one seen: near 0 where samples don't explain the data,
near 1 where they explain the noise too; over measurements of a right posterior its mean is 1/2. It needs no truth, so
it is there for real measurements as well.

References: Talts et al. 2018 (SBC), Lemos et al. 2023 (TARP), Gelman, Meng and Stern 1996 (predictive p-values).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.denoisers.views import differentiable
from scorefield.inverse.measurement import GaussianNoise, simulate
from scorefield.inverse.method import Method
from scorefield.inverse.operators.base import Operator
from scorefield.inverse.posterior import PosteriorSamples, condition
from scorefield.metrics import Coverage, Ranks, coverage, sbc, tarp


class Calibration(NamedTuple):
    """What `calibration` returns."""

    ranks: Ranks  # of every statistic
    coverage: Coverage
    tarp: Ranks  # one column
    predictive: Tensor  # (B,) posterior predictive p-values
    likelihood: GaussianNoise  # the measurements
    samples: PosteriorSamples

    def table(self) -> dict[str, float]:
        """The figures, by name."""
        rates = {
            f"coverage of {level:.0%}": rate
            for level, rate in zip(self.coverage.levels.tolist(), self.coverage.rates.tolist(), strict=True)
        }
        return {
            "SBC p-value": self.ranks.p_value,
            "TARP p-value": self.tarp.p_value,
            **rates,
            "mean predictive p-value": float(self.predictive.mean()),
        }


def calibration(
    denoiser: Denoiser,
    operator: Operator,
    noise_std: Tensor | float,
    truths: Tensor,
    *,
    method: Method | None = None,
    n: int = 39,
    statistics: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    **options: Any,
) -> Calibration:
    """Measures the truths `(B, *event)`, samples each posterior n times, and checks them.

    Args:
        truths: draws of the prior: of the exact law, of the model, or held-out data. What is found wrong may be the
            sampler's or the prior's.
        noise_std: in the units of what the operator returns.
        method, options: for `condition` and `sample`: nfe, chunk, progress.
        n: samples of each; 39 know the central interval of 0.95.
        statistics: `(N, *event)` to `(N, S)`, what to rank; every number of the event unless given.
        seed: of the noise of the measurements, of the samples and of the checks.
    """
    likelihood = simulate(operator, truths, noise_std, seed=seed)
    samples = condition(denoiser, likelihood, method).sample(n, seed=seed, **options)
    return Calibration(
        sbc(truths, samples.x, statistics, seed=seed),
        coverage(truths, samples.x),
        tarp(truths, samples.x, reference(likelihood, denoiser.data_mean), seed=seed),
        predictive_p_value(likelihood, samples.x),
        likelihood,
        samples,
    )


def predictive_p_value(likelihood: GaussianNoise, x: Tensor) -> Tensor:
    """P(chi2_M >= chi2(y, x)) averaged over the samples `x` `(B, n, *event)`: `(B,)` float64."""
    batch, n = x.shape[:2]
    rows = likelihood.rows(torch.arange(batch, device=x.device).repeat_interleave(n))
    half = torch.tensor(math.prod(likelihood.operator.output_shape) / 2, dtype=torch.float64, device="cpu")
    misfit = rows.chi2(x.flatten(0, 1)).double() / 2
    return torch.special.gammaincc(half.expand_as(misfit).to(misfit), misfit).reshape(batch, n).mean(1)


def reference(likelihood: GaussianNoise, mean: Tensor | float = 0.0) -> Tensor:
    """One step of steepest descent on chi2 from the data's mean, `(B, *event)`: crude, and made of y alone.

    Along the gradient g the misfit of a linear operator is least after |g|^2 / |A g / noise_std|^2.
    """
    start = torch.zeros(len(likelihood), *likelihood.event_shape, dtype=likelihood.y.dtype, device=likelihood.y.device)
    start = start + (mean.to(start) if isinstance(mean, Tensor) else mean)
    with differentiable():
        x = start.clone().requires_grad_()
        (g,) = torch.autograd.grad(-likelihood.chi2(x).sum() / 2, x)
    ahead = (likelihood.residual(start) - likelihood.residual(start + g)).flatten(1).square().sum(1)
    length = g.flatten(1).square().sum(1) / torch.where(ahead > 0, ahead, 1.0)
    return start + length.reshape(-1, *(1,) * (g.ndim - 1)) * g
