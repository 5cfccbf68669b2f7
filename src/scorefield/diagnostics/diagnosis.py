"""`diagnose`: what is wrong with a model, worst first, and the table it was read from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import require, require_denoiser
from scorefield.diagnostics.detectors import DETECTORS, SYMPTOMS, Finding
from scorefield.diagnostics.evidence import Evidence, measure
from scorefield.diagnostics.shown import Shown, shown
from scorefield.randomness import Stream
from scorefield.solvers import Solver
from scorefield.storage import files
from scorefield.tensors import as_tensor

NUMBERS = 2048  # of data: the paired difference of two errors has a noise of twice its root times the error's own
HEALTHY = "Nothing found: errors are where the data's own references put them, and no repair improves on the model"


class Level(NamedTuple):
    """Of one noise level; errors are mean squares an entry, over the data's variance."""

    noise_ratio: float  # sigma / alpha, over the data's standard deviation
    error: float  # on held-out data, where there are any
    train_error: float  # on data it was trained on
    reference: float  # of the best reference: at least the least error there is
    by: str  # which one
    noisier: float  # what its own errors at more noise ask of it
    own: float  # rms distance of D to the best reference along its own trajectories, over the data's std
    on_data: float  # the same on data's noisings
    correctable: float  # share of the squared error that a D + b x_t + c removes: 0 of an exact denoiser
    tweedie: float  # tr Cov[x0 | x_t] by Tweedie's formula over the squared residual: 1 of an exact denoiser
    asymmetry: float  # |J - J^T| / |J + J^T| of D's Jacobian: 0 of an exact denoiser; no alarm by itself
    fokker_planck: float  # residual of the score's Fokker-Planck equation over d score / ds^2; no alarm by itself


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` returns."""

    findings: list[Finding]  # causes before symptoms, the worst first; empty of a healthy model
    levels: list[Level]
    facts: dict[str, float]  # by name: the noise range, stated and measured statistics, samples beside their floor

    @property
    def sentence(self) -> str:
        """The worst thing, at which noise level, how much it costs, and what to change."""
        return self.findings[0].sentence if self.findings else f"{HEALTHY}."

    def __str__(self) -> str:
        """The sentence, the other findings, and the table."""
        others = [f"Also: {finding.sentence}" for finding in self.findings[1:]]
        return "\n".join([self.sentence, *others, "", self.table()])

    def table(self) -> str:
        """By noise level."""
        head = (
            f"{'noise / sd':>10} {'error':>9} {'training':>9} {'reference':>9} {'of':<13} {'own paths':>9} "
            f"{'on data':>9} {'fixable':>8} {'Tweedie':>8} {'asymm.':>7} {'F-P':>6}"
        )
        rows = [
            f"{v.noise_ratio:10.3g} {v.error:9.2e} {v.train_error:9.2e} {v.reference:9.2e} {v.by:<13} {v.own:9.2e} "
            f"{v.on_data:9.2e} {v.correctable:8.3f} {v.tweedie:8.2f} {v.asymmetry:7.3f} {v.fokker_planck:6.2f}"
            for v in self.levels
        ]
        return "\n".join([head, *rows])

    def to_json(self) -> str:
        """Everything, as JSON; null for what is not finite."""
        return json.dumps(
            files.plain(
                {
                    "sentence": self.sentence,
                    "findings": [{**f._asdict(), "sentence": f.sentence} for f in self.findings],
                    "levels": [level._asdict() for level in self.levels],
                    "facts": self.facts,
                }
            ),
            indent=1,
        )


@torch.no_grad()
def diagnose(
    denoiser: Denoiser,
    data: Any,
    *,
    held_out: Any = None,
    transform: Transform | None = None,
    cond: Mapping[str, Any] | None = None,
    held_out_cond: Mapping[str, Any] | None = None,
    present: Denoiser | None = None,
    exact: Denoiser | None = None,
    solver: Solver | None = None,
    nfe: int | None = None,
    n: int | None = None,
    levels: int = 20,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Diagnosis:
    """What is wrong with a model: the worst thing first, at which noise level, at what cost, and what to change.

    The error of the denoiser at each noise level is held to denoisers made of the data alone (`references`), and to
    repairs: the network's level shifted, another schedule, the data in other units, other weights. What a repair takes
    away from the error names the fault. Costs are in one unit: how far samples are moved, in the data's standard
    deviations (`measured.displacement`).

    Args:
        denoiser: in the mode it is used in: that is looked at; all else is measured in eval mode.
        data: it was trained on, `(N, *event)`, in its units, or raw beside a `transform`; some hundreds are enough.
        held_out: data of the same law that it was not trained on: without them memorisation is not seen.
        transform: of raw data to the model's units.
        cond, held_out_cond: of the denoiser, a row for each datum.
        present: the model with its last weights, where `denoiser` has averaged ones: without it a stale average is
            taken for too little training.
        exact: E[x0 | x_t] where it is known, of any process.
        solver, nfe: that samples are made with; the default ones unless given.
        n: data looked at, of each kind, each several times under other noise where there are fewer; unless given as
            many as have NUMBERS numbers, at least 256: what a comparison of errors needs.
        levels: noise levels, evenly spaced in log(sigma / alpha).
        report: told what is being done.

    Raises:
        TypeError: for what is no denoiser.
        ValueError: for a denoiser that has no score, such as a Flow; less than 8 data, or data that are not finite or
            do not vary; less than 4 levels; conditions of another length.
    """
    require_denoiser("denoiser", denoiser)
    require(denoiser, "score", "diagnose")
    if levels < 4 or (n is not None and n < 8):
        raise ValueError(f"levels must be at least 4 and n at least 8; got {levels} and {n}")
    own = next((p for p in denoiser.parameters() if p.is_floating_point()), None)
    x0 = _model_units("data", data, transform, own, seed)
    other = None if held_out is None else _model_units("held_out", held_out, transform, own, seed + 1)
    told = Conditions.of(cond, len(x0), x0.dtype, x0.device)
    held_told = Conditions.of(held_out_cond, 0 if other is None else len(other), x0.dtype, x0.device)
    n = max(256, NUMBERS // x0[0].numel()) if n is None else n
    evidence = measure(
        denoiser, x0, other, told=told, held_told=held_told, present=present, exact=exact, solver=solver, nfe=nfe, n=n,
        levels=levels, seed=seed, report=report or (lambda _: None),
    )  # fmt: skip
    found = [finding for detect in DETECTORS if (finding := detect(evidence)) is not None]
    return Diagnosis(
        sorted(found, key=_rank),
        _table(evidence, shown(evidence)),
        _facts(evidence),
    )


def _rank(finding: Finding) -> tuple[int, float]:
    """Causes first, the worst of them first; then symptoms."""
    name = finding.name
    return (SYMPTOMS.index(name) + 1 if name in SYMPTOMS else 0), -finding.severity


def _model_units(name: str, given: Any, transform: Transform | None, own: Tensor | None, seed: int) -> Tensor:
    raw = as_tensor(given)
    x = raw if transform is None else transform.dequantize(raw, Stream(seed, torch.arange(len(raw), device=raw.device)))
    if x.ndim == 0 or len(x) < 8:
        raise ValueError(f"{name} must hold at least 8 events, (N, *event); got shape {tuple(x.shape)}")
    x = x.to(torch.get_default_dtype() if own is None and not x.is_floating_point() else x.dtype)
    x = x if own is None else x.to(own.device, own.dtype)
    if not bool(torch.isfinite(x).all()) or float(x.double().std()) == 0:
        raise ValueError(f"{name} must be finite and vary")
    return x


def _table(e: Evidence, beside: Shown) -> list[Level]:
    v = e.std**2
    return [
        Level(
            float(e.s[i]) / e.std, float(e.error[i].mean()) / v, float(e.train_error[i].mean()) / v,
            float(e.floor.error[i].mean()) / v, e.floor.names[i], float(e.noisier[i]) / v,
            float(e.own.gap[i]) / e.std, float(e.own.on_data[i]) / e.std, *(float(column[i]) for column in beside),
        )
        for i in range(len(e.s))
    ]  # fmt: skip


def _facts(e: Evidence) -> dict[str, float]:
    d, (mean, std) = e.subject.denoiser, e.subject.measured
    stated = e.subject.stated or (math.nan, math.nan)
    return {
        "data_mean": mean, "data_std": std, "stated_mean": stated[0], "stated_std": stated[1],
        "samples_mean": e.subject.believed[0], "samples_std": e.subject.believed[1],
        "lowest_noise": float(d.schedule.noise_ratio(0.0)), "highest_noise": float(d.schedule.noise_ratio(1.0)),
        "leading_variance": e.start.max().item(), "sliced_wasserstein": e.own.distance,
        "sliced_wasserstein_floor": e.own.floor.mean, "nfe": float(e.own.made.nfe),
        "nearer_to_training_data": math.nan if e.own.memorised is None else e.own.memorised.value,
        "best_repair": 0.0 if e.repair is None else e.repair.cost,
    }  # fmt: skip
