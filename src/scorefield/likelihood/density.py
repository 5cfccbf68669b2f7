"""log p through the probability-flow ODE, with an account of its error.

The flow is integrated in the angle of `likelihood.flow`, (z, int q) together, by Adams' methods (`solvers.adams`), one
evaluation a step, every sample with steps of its own. If a step ends in z' with errors e of z' and e_q of the integral,
what it does to the answer is

    e_q + grad log p(z') . e,

since from z' on the exact flow would give log p(z'): that, not the error of z, is what is held below the tolerance, and
the sum of |e_q| + |grad log p . e| over the steps is what the answer is reported to be off by. The gradient comes with
the evaluation at the end of the step.

A step is taken or refused at a threshold. Where a network's last bits differ, in another batch or on another processor,
a sample that stands at one takes other steps from there on, and its answer moves by as much as is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from scipy import stats
from torch import Tensor

from scorefield import grids
from scorefield._caller import warn
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import in_eval_mode, require
from scorefield.denoisers.gradients import outside_inference
from scorefield.likelihood.carried import carried
from scorefield.likelihood.divergence import Divergence, Exact, Hadamard
from scorefield.likelihood.flow import Flow
from scorefield.likelihood.path import beyond, followed, near_end
from scorefield.tensors import require_batch

S_MAX = 1e3
End = Literal["model", "law"]
CHUNK_ELEMENTS = 2**20  # numbers in x at a time: a network's graph is kept for each
OF_THE_END = 0.1  # of the budget: what lies below the first angle may be off by
# The estimates are of a lower order than what advances, but fall short of the error where steps are so long that the
# orders do not show yet: the sum over the steps by a factor 1.7 at most, on digits at a tolerance of 0.01.
CAUTION = 2.0


class LogProb(NamedTuple):
    """What `log_prob` returns; all `(B,)` but for `latent` and `nfe`, in nats, and each sample's own."""

    log_prob: Tensor
    probe: Tensor  # standard error of the divergence; NaN for one probe, 0 for the exact trace
    solver: Tensor  # a bound, as far as an estimate can be one
    truncation: Tensor  # of what lies below the first and above the last angle the network was asked at
    end: Tensor  # what the other reading of the far end would change, and its error: see `log_prob`
    latent: Tensor  # (B, *event): z at the far end, standard normal under the model; NaN where not followed
    followed: Tensor  # bool: along the flow; elsewhere it is stiff, and log p was integrated at a fixed z
    evaluations: Tensor  # of the network, each with its products
    nfe: int  # the most that any sample needed
    degrees: float  # of freedom, of `probe`

    @property
    def stderr(self) -> Tensor:
        """The root of the sum of the squares."""
        return torch.sqrt(self.probe**2 + self.solver**2 + self.truncation**2)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """(low, high), which hold log p with probability `level`: Student's t for few probes.

        Normal estimates are assumed. Of 2 to 4 probes, where one direction dominates the divergence, 95% is 74 to 91%.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}")
        z = float(stats.norm.ppf((1 + level) / 2))
        t = z if math.isinf(self.degrees) else float(stats.t.ppf((1 + level) / 2, self.degrees))
        half = torch.sqrt((t * self.probe) ** 2 + z**2 * (self.solver**2 + self.truncation**2))
        return self.log_prob - half, self.log_prob + half


@in_eval_mode
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
    end: End = "model",
    s_min: float = grids.S_MIN,
    s_max: float = S_MAX,
    differentiable: bool = False,
    chunk: int | None = None,
) -> LogProb:
    """log p of `x` `(B, *event)` in nats: the density of what `sample` draws by the ODE.

    A sample that cannot be had (a prediction that is not finite) is NaN, and costs the others nothing. All numbers are
    detached unless `differentiable`.

    Args:
        denoiser: any; the numbers are of its flow, from a start that the tolerance asks for to t = 1. Those of a `Flow`
            go from t = 0 to its origin, `latent` is the point there, and `end`, s_min and s_max mean nothing.
        x: in the units the model was trained on; with a `transform`, in the data's.
        tolerance: of the solver, nats for each dimension. In float32 what lies below 1e-5 is rounding.
        probes: orthogonal ones, `Hadamard(probes)`; None takes the exact trace, d products for each evaluation.
        divergence: in place of `probes`, any estimator.
        seed, first_index: the probes of sample i are a function of (seed, first_index + i) alone, and do not change
            along its trajectory.
        cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
        transform: of the data, whose log-Jacobian is then added: the density is one of data in their own units.
        end: what stands at the end of the process. "model": the Gaussian at t = 1 that `sample` starts from, with the
            data's mean and standard deviation. "law": the noised data, continued to pure noise by a straight line
            through the field at t = 1: of an `ExactDenoiser` right for Gaussian data, and for others where little of
            them is left (two modes 4 apart: off by 5e-5 nats in the mean at a terminal SNR of 1/400, .02 at 1/25, 2.7
            at 1/4); a guess for a network that was never asked beyond. `LogProb.end` is the difference.
        s_min: the noise ratio to begin at, in units of the data's standard deviation; lower where data are thinner.
        s_max: the largest noise ratio at which the network is asked.
        differentiable: keeps the graph of the steps, for gradients of `log_prob` and `latent` in x and in the network's
            parameters: those of the numbers returned, the steps' lengths held, so that their error falls with the
            tolerance. It is memory for every evaluation, and a second derivative of the network. A sample that is
            NaN may make the gradient in the parameters NaN: leave it out of x.
        chunk: samples at a time; chosen by memory unless given.

    Raises:
        ValueError: for a flow map, which has no density, x that is not finite, a tolerance that is not positive,
            another end, or a condition of another length than x.

    References:
        Chen et al. 2018; Song et al. 2021, section D.2.
    """
    require(denoiser, "density", "log_prob")
    require_batch("x", x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite; got NaN or infinity")
    divergence = asked(tolerance, end, probes, divergence)
    batch, d = len(x), math.prod(x.shape[1:])
    jacobian = 0.0 if transform is None else transform.log_jacobian(d)
    x = x if transform is None else transform(x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1; got {chunk}")
    size = chunk or max(1, CHUNK_ELEMENTS // max(1, d))
    told = Conditions.of(cond, batch, x.dtype, x.device)
    parts = []
    with outside_inference(), torch.set_grad_enabled(differentiable):
        for low in range(0, max(batch, 1), size):
            rows = slice(low, min(low + size, batch))
            index = torch.arange(first_index + low, first_index + rows.stop, device=x.device)
            vectors = divergence.directions(x[rows], seed, index)
            if "score" in denoiser.lacks:
                parts.append(carried(denoiser, x[rows], vectors, divergence, told.rows(rows), tolerance, jacobian))
                continue
            flow = Flow(denoiser, vectors, divergence, told.rows(rows), differentiable)
            parts.append(_log_prob(flow, x[rows], tolerance, end, s_min, s_max, jacobian))
    fields = [torch.cat(values) for values in zip(*parts, strict=True)]
    evaluations = fields[-1]
    if missing := int(fields[0].isnan().sum()):
        warn(
            f"log_prob: {missing} of {batch} samples have none: the model's predictions are not finite on their way",
        )
    return LogProb(*fields, nfe=int(evaluations.max()) if batch else 0, degrees=divergence.degrees)


def asked(tolerance: float, end: str, probes: int | None, divergence: Divergence | None) -> Divergence:
    """The estimator of what `log_prob` and `sample_log_prob` are told.

    Raises:
        ValueError: for a tolerance that is not positive, another end, or both probes and a divergence.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, nats for each dimension; got {tolerance:g}")
    if end not in get_args(End):
        raise ValueError(f"end must be one of {', '.join(get_args(End))}; got {end!r}")
    if probes is not None and divergence is not None:
        raise ValueError("give either probes or divergence, not both")
    return divergence or (Exact() if probes is None else Hadamard(probes))


def _log_prob(
    flow: Flow, x: Tensor, tolerance: float, end: End, s_min: float, s_max: float, jacobian: float
) -> tuple[Tensor, ...]:
    """The fields of `LogProb` up to `evaluations`, of a chunk."""
    (theta0, theta1), z = flow.ends(s_min, s_max), flow.standardise(x)
    d = z.shape[1]
    budget = tolerance * max(d, 1) / CAUTION
    start = near_end(flow, z, theta0, theta1, OF_THE_END * budget)
    way, by_flow = followed(flow, z, start, theta1, budget)
    # on from theta1 to t = 1, where the model's own Gaussian stands, and to pi / 2, where every law is one
    own, pure = (beyond(flow, way.z, way.rates, theta1, stop) for stop in (flow.limits[1], math.pi / 2))
    far, latent = own if end == "model" else pure
    columns = (way.integral + start.tail.value + far.value).contiguous()  # a row is added up alike in any batch
    normal = -way.z.square().sum(1) / 2
    log_p = normal - d * math.log(2 * math.pi * flow.denoiser.data_std**2) / 2 + columns.mean(1) + jacobian
    device = x.device
    return (
        torch.where(way.arrived.to(device), log_p, math.nan),
        flow.divergence.stderr(columns.detach(), d),
        CAUTION * way.error.to(device),
        (start.tail.error + far.error).detach(),
        ((pure[0].value - own[0].value).mean(1).abs() + pure[0].error).detach(),
        torch.where(by_flow.to(device)[:, None], latent, math.nan).to(x.dtype).reshape(x.shape),
        by_flow,
        start.evaluations + way.evaluations + sum(phi > theta1 for phi in (flow.limits[1], math.pi / 2)),
    )
