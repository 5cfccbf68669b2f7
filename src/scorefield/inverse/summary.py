"""A posterior's samples in one account: what they are, how near the truth, whether they explain what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.inverse.calibration import predictive_p_value
from scorefield.inverse.measurement import GaussianNoise
from scorefield.inverse.posterior import PosteriorSamples


def psnr(x: Tensor, truth: Tensor, peak: float = 1.0) -> Tensor:
    """`(N,)` dB: -10 log10 of the mean squared error over `peak`^2, of `x` and `truth` `(N, *event)`."""
    return -10 * torch.log10((x - truth).square().flatten(1).mean(1).clamp(min=1e-20) / peak**2)


class Moments(NamedTuple):
    """Of samples `(N, n, *event)`, each `(N, *event)`."""

    mean: Tensor
    std: Tensor  # 0 for one sample
    low: Tensor  # of the central interval of every number by itself
    high: Tensor


def moments(made: PosteriorSamples, x: Tensor, level: float) -> Moments:
    """Of `x` `(N, n, *event)`, the samples that were made in other units."""
    std = x.std(1) if x.shape[1] > 1 else torch.zeros_like(x[:, 0])
    return Moments(x.mean(1), std, *replace(made, x=x).interval(level))


class Quality(NamedTuple):
    """What can be said of samples of N posteriors; None where it can't."""

    psnr: float | None  # dB, of the mean of the samples, for values from 0 to 1
    psnr_of_a_sample: float | None
    inside: float | None  # the share of numbers whose truth lies in their interval
    reduced_chi2: float | None
    predictive_p_value: Tensor | None  # (N,)
    log_evidence: Tensor | None  # (N,), nats
    ess: float | None  # the least effective share of a system's particles

    @property
    def mean_p_value(self) -> float:
        """Over the posteriors."""
        return math.nan if self.predictive_p_value is None else float(self.predictive_p_value.mean())

    @property
    def mean_log_evidence(self) -> float:
        """Over the posteriors."""
        return math.nan if self.log_evidence is None else float(self.log_evidence.mean())


def quality(
    made: PosteriorSamples, x: Tensor, likelihood: GaussianNoise, found: Moments, truth: Tensor | None = None
) -> Quality:
    """How near the truth the samples are, where there is one, and whether they explain what was measured.

    Args:
        made: the samples.
        x: the same, `(N, n, *event)`, in the units of `likelihood`.
        found: their moments.
        truth: `(N, *event)`, in the same units.
    """
    of = each(made, x, likelihood, found, truth)
    mean = {name: float(value.double().mean()) for name, value in of.items()}
    return Quality(
        mean.get("psnr"),
        mean.get("psnr_of_a_sample"),
        mean.get("inside"),
        mean.get("reduced_chi2"),
        of.get("predictive_p_value"),
        made.log_evidence,
        mean.get("ess"),
    )


def each(
    made: PosteriorSamples, x: Tensor, likelihood: GaussianNoise, found: Moments, truth: Tensor | None = None
) -> dict[str, Tensor]:
    """The numbers of `Quality` for each posterior by itself, `(N,)`, those that can be had; arguments as there."""
    chi2 = made.reduced_chi2
    numbers = {
        "psnr": None if truth is None else psnr(found.mean, truth),
        "psnr_of_a_sample": None if truth is None else psnr(x[:, 0], truth),
        "inside": None if truth is None else ((truth >= found.low) & (truth <= found.high)).flatten(1).double().mean(1),
        "reduced_chi2": None if chi2 is None else chi2.mean(1),
        "predictive_p_value": None if chi2 is None else predictive_p_value(likelihood, x),
        "log_evidence": made.log_evidence,
        "ess": made.ess,
    }
    return {name: value for name, value in numbers.items() if value is not None}
