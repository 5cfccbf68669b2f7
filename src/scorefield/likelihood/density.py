"""log p through the probability-flow ODE, with an account of its error.

The flow is integrated in the angle of `likelihood.flow`, (z, int q) together, by Adams' methods (`solvers.adams`), one
evaluation a step, every sample with steps of its own. If a step ends in z' with errors e of z' and e_q of the integral,
what it does to the answer is

    e_q + grad log p(z') . e,

since from z' on the exact flow would give log p(z'): that, not the error of z, is what is held below the tolerance, and
the sum of |e_q| + |grad log p . e| over the steps is what the answer is reported to be off by. The gradient comes with
the evaluation at the end of the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from scorefield import grids
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.likelihood.divergence import Divergence, Exact, Hadamard
from scorefield.likelihood.flow import BEND, Flow, Rates, angle, angle_rate, far_tail, near_tail
from scorefield.schedules import pad_right
from scorefield.solvers.adams import AdamsStep, follow

S_MAX = 1e3
CHUNK_ELEMENTS = 2**20  # numbers in x at a time: a network's graph is kept for each
OF_A_STEP = 0.05  # of the tolerance: with CAUTION, the bound on some twenty steps comes out near it
# The estimates are of a lower order than what advances, but fall short of the error where steps are so long that the
# orders do not show yet: the sum over the steps by a factor 1.7 at most, on digits at a tolerance of 0.01.
CAUTION = 2.0


class LogProb(NamedTuple):
    """What `log_prob` returns; all `(B,)` but for `latent` and `nfe`, in nats, and each sample's own."""

    log_prob: Tensor
    probe: Tensor  # standard error of the divergence; NaN for one probe, 0 for the exact trace
    solver: Tensor  # a bound, as far as an estimate can be one
    truncation: Tensor  # of what lies below s_min and above s_max
    latent: Tensor  # (B, *event): z at theta = pi/2, standard normal under the model
    evaluations: Tensor  # of the network, each with its products
    nfe: int  # the most that any sample needed
    degrees: float  # of freedom, of `probe`

    @property
    def stderr(self) -> Tensor:
        """The root of the sum of the squares."""
        return torch.sqrt(self.probe**2 + self.solver**2 + self.truncation**2)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """(low, high), which hold log p with probability `level`: Student's t for few probes.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}")
        z = float(stats.norm.ppf((1 + level) / 2))
        t = z if math.isinf(self.degrees) else float(stats.t.ppf((1 + level) / 2, self.degrees))
        half = torch.sqrt((t * self.probe) ** 2 + z**2 * (self.solver**2 + self.truncation**2))
        return self.log_prob - half, self.log_prob + half


def log_prob(
    denoiser: Denoiser,
    x: Tensor,
    *,
    tolerance: float = 1e-3,
    probes: int | None = None,
    divergence: Divergence | None = None,
    seed: int = 0,
    first_index: int = 0,
    cond: Mapping[str, Any] | None = None,
    transform: Transform | None = None,
    s_min: float = grids.S_MIN,
    s_max: float = S_MAX,
    chunk: int | None = None,
) -> LogProb:
    """log p of `x` `(B, *event)` in nats.

    Args:
        denoiser: any; the numbers are of its flow, integrated from s_min to s_max and extrapolated beyond.
        x: in the units the model was trained on; with a `transform`, in the data's.
        tolerance: of the solver, nats for each dimension. In float32 what lies below 1e-5 is rounding.
        probes: orthogonal ones, `Hadamard(probes)`; None takes the exact trace, d products for each evaluation.
        divergence: in place of `probes`, any estimator.
        seed, first_index: the probes of sample i are a function of (seed, first_index + i) alone, and do not change
            along its trajectory.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
        transform: of the data, whose log-Jacobian is then added: the density is one of data in their own units.
        s_min, s_max: the noise ratios of the two ends, in units of the data's standard deviation.
        chunk: samples at a time; chosen by memory unless given.

    Raises:
        ValueError: for x that is not finite, a tolerance that is not positive, or a condition of another length than x.
        StepError: where the flow cannot be followed to that tolerance.

    References:
        Chen et al. 2018; Song et al. 2021, section D.2.
    """
    if not x.is_floating_point() or x.ndim < 1:
        raise ValueError(f"x must be floating point of shape (B, *event); got {x.dtype}, {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, nats for each dimension; got {tolerance:g}")
    if probes is not None and divergence is not None:
        raise ValueError("give either probes or divergence, not both")
    divergence = divergence or (Exact() if probes is None else Hadamard(probes))
    batch, d = len(x), math.prod(x.shape[1:])
    jacobian = 0.0 if transform is None else transform.log_jacobian(d)
    x = x if transform is None else transform(x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    size = chunk or max(1, CHUNK_ELEMENTS // max(1, d))
    told = Conditions.of(cond, batch, x.dtype, x.device)
    parts = []
    with torch.inference_mode(False), torch.no_grad():
        for low in range(0, max(batch, 1), size):
            rows = slice(low, min(low + size, batch))
            index = torch.arange(first_index + low, first_index + rows.stop, device=x.device)
            vectors = divergence.directions(x[rows], seed, index)
            flow = Flow(denoiser, vectors, divergence, told.rows(rows))
            parts.append(_log_prob(flow, x[rows], tolerance, s_min, s_max, jacobian))
    fields = [torch.cat(values) for values in zip(*parts, strict=True)]
    evaluations = fields[-1]
    return LogProb(*fields, nfe=int(evaluations.max()) if batch else 0, degrees=divergence.degrees)


def _log_prob(
    flow: Flow, x: Tensor, tolerance: float, s_min: float, s_max: float, jacobian: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (theta0, theta1), z = flow.ends(s_min, s_max), flow.standardise(x)
    batch, d = z.shape
    rows = torch.arange(batch)

    def at(theta: float) -> Tensor:
        return torch.full((batch,), theta, dtype=torch.float64)

    def slope(y: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        theta = angle(u)
        rate = torch.cat(flow(y[:, :d], theta, rows), 1)
        return rate * pad_right(angle_rate(theta), rate)  # dtheta/du

    def judge(step: AdamsStep) -> Tensor:
        theta = angle(step.u)
        f = step.rate[:, :d] / pad_right(angle_rate(theta), step.rate)
        score = Rates(f, f).score(step.x[:, :d], theta)
        effects = [(score * e[:, :d]).sum(1).abs() + e[:, d:].mean(1).abs() for e in step.differences]
        return torch.stack(effects) / (OF_A_STEP * tolerance * max(d, 1))

    first = flow(z, at(theta0), rows)
    near = near_tail(first.kappa(z, at(theta0)), flow(z, at(4 * theta0), rows).kappa(z, at(4 * theta0)), theta0)
    start, end = math.asinh(theta0 / BEND), math.asinh(theta1 / BEND)
    opening = pad_right(angle_rate(at(theta0)), z) * torch.cat(first, 1)
    y = torch.cat([z, torch.zeros_like(first.q)], 1)
    done = follow(slope, y, opening, start, end, judge=judge)

    z, phi = done.x[:, :d], math.pi / 2 - theta1
    last = Rates(*(done.rate / pad_right(angle_rate(at(theta1)), z)).split((d, first.q.shape[1]), 1))
    beyond = flow(z, at(theta1 - phi), rows)
    far = far_tail(last.kappa(z, at(theta1)), beyond.kappa(z, at(theta1 - phi)), phi)

    columns = (done.x[:, d:] + near.value + far.value).contiguous()  # a row is added up alike in any batch
    normal = -z.square().sum(1) / 2 - d * math.log(2 * math.pi * flow.denoiser.data_std**2) / 2
    return (
        (normal + columns.mean(1) + jacobian).to(torch.float64),
        flow.divergence.stderr(columns, d),
        CAUTION * OF_A_STEP * tolerance * d * done.error.to(x.device),
        near.error + far.error,
        (z + phi * (3 * last.f - beyond.f) / 2).to(x.dtype).reshape(x.shape),
        done.evaluations + 3,
    )
