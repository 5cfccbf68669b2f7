"""Samples together with their log p: the flow followed from noise to data, with the integral of its divergence.

The same numbers as those of `likelihood.density`, the other way round: z is drawn where the process ends, and with it
comes log p there; downwards

    log p(z at theta_0) = log p(z at theta_1) + int q dtheta,

and what lies below theta_0 is known in closed form at the z arrived at, which is the datum. So a sample is not
E[x0 | x] at the last step, as `sample` ends, but the point of the flow itself: it keeps noise of s_min of the data's
standard deviation, less where the data are thin, and its log p is that of the very numbers returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import grids
from scorefield._caller import warn
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode
from scorefield.denoisers.gradients import outside_inference
from scorefield.likelihood.density import CAUTION, CHUNK_ELEMENTS, OF_THE_END, S_MAX, End, LogProb, asked
from scorefield.likelihood.divergence import Divergence
from scorefield.likelihood.flow import Flow
from scorefield.likelihood.path import beyond, fallen
from scorefield.randomness import Noise
from scorefield.sampling.parts import placement


class Sampled(NamedTuple):
    """What `sample_log_prob` returns."""

    x: Tensor  # (B, *event)
    density: LogProb  # of x: `.log_prob` (B,), and its error

    @property
    def log_prob(self) -> Tensor:
        """log p of `x`, `(B,)`, nats."""
        return self.density.log_prob


@in_eval_mode
@outside_inference()
def sample_log_prob(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    tolerance: float = 1e-3,
    probes: int | None = None,
    divergence: Divergence | None = None,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    transform: Transform | None = None,
    end: End = "model",
    s_min: float = grids.S_MIN,
    s_max: float = S_MAX,
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Sampled:
    """Samples of the ODE, of `shape` `(B, *event)`, with their log p in nats, for about the price of `log_prob`.

    They start from the noise that `sample` starts from with the same seed, and so end near its samples. A sample that
    cannot be had (a prediction that is not finite) is NaN, and costs the others nothing. All is detached.

    Args:
        denoiser: any.
        tolerance, probes, divergence, cond, end, s_max: as for `log_prob`.
        seed, first_index: sample i and its probes are a function of (seed, first_index + i) alone.
        transform: of the data: x is then in the data's units, continuous, and so is its density.
        s_min: the noise ratio to end at, in units of the data's standard deviation; where the data are thinner, a
            quarter of it, a sixteenth, ...
        chunk: samples at a time; chosen by memory unless given.
        dtype, device: of the samples; by default those of the denoiser's parameters.

    Raises:
        ValueError: as `log_prob`; for a shape of anything but integers >= 0.
    """
    divergence = asked(tolerance, end, probes, divergence)
    if isinstance(shape, Tensor):
        raise ValueError("shape must be integers (B, *event), not a tensor; the log p of given data is log_prob's")
    (batch, *event), dtype, device = placement(denoiser, shape, dtype, device)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    denoiser.prior(1.0)  # says so where the start hangs on statistics that nobody gave
    d = math.prod(event)
    jacobian = 0.0 if transform is None else transform.log_jacobian(d)
    size = chunk or max(1, CHUNK_ELEMENTS // max(1, d))
    told = Conditions.of(cond, batch, dtype, device)
    parts = []
    for low in range(0, max(batch, 1), size):
        rows = slice(low, min(low + size, batch))
        index = torch.arange(first_index + low, first_index + rows.stop, device=device)
        start = Noise(seed, index, tuple(event), dtype).normal(0)  # as `sample` starts
        flow = Flow(denoiser, divergence.directions(start, seed, index), divergence, told.rows(rows))
        parts.append(_sampled(flow, start, tolerance, end, s_min, s_max, jacobian))
    x, *fields = (torch.cat(values) for values in zip(*parts, strict=True))
    evaluations = fields[-1]
    if missing := int(fields[0].isnan().sum()):
        warn(
            f"sample_log_prob: {missing} of {batch} samples are NaN: predictions are not finite on their way",
        )
    density = LogProb(*fields, nfe=int(evaluations.max()) if batch else 0, degrees=divergence.degrees)
    return Sampled(x if transform is None else transform.inverse(x), density)


def _sampled(
    flow: Flow, start: Tensor, tolerance: float, end: End, s_min: float, s_max: float, jacobian: float
) -> tuple[Tensor, ...]:
    """x, and the fields of `LogProb` up to `evaluations`, of a chunk."""
    (theta0, theta1), last, z = flow.ends(s_min, s_max), flow.limits[1], start.double().flatten(1)
    d, every, device = z.shape[1], torch.arange(len(z), device="cpu"), z.device
    top = torch.full((len(z),), theta1, dtype=torch.float64, device="cpu")
    if last > theta1:  # from t = 1 to the largest noise that the network is asked at: one step of Euler's
        z = z - (last - theta1) * flow(z, top, every).f
    rates = flow(z, top, every)
    own, pure = (beyond(flow, z, rates, theta1, stop) for stop in (last, math.pi / 2))
    far, latent = own if end == "model" else pure
    budget = tolerance * max(d, 1) / CAUTION
    fall = fallen(flow, z, rates, theta0, theta1, budget, OF_THE_END * budget)
    columns = (fall.integral + fall.tail.value + far.value).contiguous()  # a row is added up alike in any batch
    normal = -z.square().sum(1) / 2 - d * math.log(2 * math.pi * flow.denoiser.data_std**2) / 2
    lost = ~fall.arrived.to(device)
    mean = flow.denoiser.data_mean
    mean = mean.to(z) if isinstance(mean, Tensor) else mean
    x = (flow.denoiser.data_std * fall.z).reshape(start.shape) + mean
    return (
        torch.where(lost.reshape(-1, *[1] * (x.ndim - 1)), math.nan, x).to(start.dtype),
        torch.where(lost, math.nan, normal + columns.mean(1) + jacobian),
        flow.divergence.stderr(columns, d),
        CAUTION * fall.error.to(device),
        fall.tail.error + far.error,
        (pure[0].value - own[0].value).mean(1).abs() + pure[0].error,
        torch.where(lost[:, None], math.nan, latent).to(start.dtype).reshape(start.shape),
        fall.arrived,
        fall.evaluations + 1 + (last > theta1) + sum(phi > theta1 for phi in (last, math.pi / 2)),
    )
