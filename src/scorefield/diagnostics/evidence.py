"""Everything that is measured of a model before anything is said of it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scorefield import metrics
from scorefield.conditions import Conditions
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.diagnostics import repairs
from scorefield.diagnostics.measured import Floor, Points, errors, floor_of, predictions, squares
from scorefield.diagnostics.references import References, from_noisier
from scorefield.diagnostics.subject import Subject
from scorefield.metrics import Floor as Distance
from scorefield.sampling import Samples, sample
from scorefield.solvers import Bias, Solver

OWN = 256  # samples drawn
SMALL = 64  # training data up to which none are spared for the references, if others are
POOL = 1024  # data that references are made of
LOWEST, HIGHEST = 0.02, 100.0  # noise ratios looked at, over the data's standard deviation


class Mode(NamedTuple):
    """Of the mode a model was handed over in."""

    layers: list[str]  # of dropout and batch normalisation that are in training mode
    error: Tensor  # (L, n) of the model in the mode it is in
    evaluated: Tensor  # (L, n) in eval mode
    repeatable: bool  # in eval mode, twice the same


class Own(NamedTuple):
    """Along the model's own trajectories, from noise to data."""

    samples: Tensor  # (m, *event), where they end
    made: Samples
    gap: Tensor  # (L,) rms distance of D to the best reference, there
    on_data: Tensor  # (L,) the same on data's noisings
    distance: float  # sliced W2 of the samples to the data, over the data's standard deviation
    floor: Distance  # of it
    memorised: metrics.Evidence | None  # where there are held-out data


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measured once, in eval mode but for `mode`; errors are mean squares an entry of the event."""

    subject: Subject
    s: Tensor  # (L,) noise ratios, increasing
    judged: Points  # held-out data, where there are any
    held_out: bool
    error: Tensor  # (L, n) on `judged`
    train_error: Tensor  # (L, n) on data it was trained on; the same where nothing was held out
    floor: Floor  # of the best reference on `judged`
    noisier: Tensor  # (L,) what the model's errors at noisier levels ask of it
    repair: repairs.Repair | None
    mode: Mode
    own: Own
    bias: Bias | None  # of the user's steps; None for steps of the default
    start: Tensor  # (L',) of the data's variances along their principal directions

    @property
    def std(self) -> float:
        return self.subject.spectrum.std


def measure(
    denoiser: Denoiser,
    data: Tensor,
    held_out: Tensor | None,
    *,
    told: Conditions,
    held_told: Conditions,
    present: Denoiser | None,
    exact: Denoiser | None,
    solver: Solver | None,
    nfe: int | None,
    n: int,
    levels: int,
    seed: int,
    report: Callable[[str], None],
) -> Evidence:
    """Everything, on up to `n` data of each kind."""
    training, judged, pool = _divided(data, held_out, told, held_told, n, seed)
    references = References(pool, exact)
    spectrum = references.spectrum
    s = _levels(denoiser, exact, spectrum.std, levels)
    report("the model as it was handed over")
    mode = _mode(denoiser, judged, s)
    with evaluating(denoiser), contextlib.ExitStack() as stack:
        if present is not None:
            stack.enter_context(evaluating(present))
        report("its errors by noise level")
        error = errors(denoiser, judged, s)
        train_error = errors(denoiser, training, s) if held_out is not None else error
        floor = floor_of(references, judged, s)
        report("its own trajectories")
        few = judged.few(OWN)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what sampling warns of is what is looked for
            made = sample(
                denoiser, tuple(few.x0.shape), solver=solver, nfe=nfe, cond=few.told, seed=seed, trajectory=True
            )
        own = _own(denoiser, made, few, references, floor.names, s, data, held_out)
        x = made.x[~made.failed].double() if not bool(made.failed.all()) else judged.x0.double() * math.nan
        believed = (float(x.mean()), float((x - x.mean(0)).square().mean().sqrt()))
        subject = Subject(denoiser, present, spectrum, believed, solver, nfe)
        report("repairs")
        repair = repairs.best(subject, s[::2], training)  # which an overfitted model denoises well
    named = solver is not None or nfe is not None
    bias = made.bias if named and not getattr(made.settings and made.settings.solver, "adaptive", False) else None
    return Evidence(
        subject, s, judged, held_out is not None, error, train_error, floor, from_noisier(s, error.mean(1)), repair,
        mode, own, bias, spectrum.variances,
    )  # fmt: skip


def _divided(
    data: Tensor, held_out: Tensor | None, told: Conditions, held_told: Conditions, n: int, seed: int
) -> tuple[Points, Points, Tensor]:
    """(points of the training data, points to judge by, the pool of all other data); few data are taken repeatedly."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed), device="cpu")
    share = min(n, max(len(data) // 2, min(len(data), SMALL if held_out is not None else 1)))
    rows, rest = order[:share], order[share:]
    training = Points.of(data, told, rows.repeat(math.ceil(n / share))[:n], seed)
    if held_out is None:
        return training, training, data[rest[:POOL].to(data.device)]
    other = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(seed + 1), device="cpu")
    share = min(n, max(1, len(held_out) // 2))
    judged = Points.of(held_out, held_told, other[:share].repeat(math.ceil(n / share))[:n], seed + 1)
    spare = held_out[other[share:].to(data.device)]
    return training, judged, torch.cat([spare, data[rest.to(data.device)]])[:POOL]


def _levels(denoiser: Denoiser, exact: Denoiser | None, std: float, count: int) -> Tensor:
    """Noise ratios evenly spaced in their logarithm, as far as the processes reach."""
    both = [d.schedule for d in (denoiser, exact) if d is not None]
    reach = [pick(float(p.noise_ratio(t)) for p in both) for pick, t in ((max, 0.0), (min, 1.0))]
    low, high = max(reach[0] * 1.001, LOWEST * std), min(reach[1] * 0.999, HIGHEST * std)
    return torch.logspace(math.log10(min(low, high / 2)), math.log10(high), count, dtype=torch.float64, device="cpu")


def _mode(denoiser: Denoiser, points: Points, s: Tensor) -> Mode:
    some = s[::2]
    layers = [
        type(m).__name__
        for m in denoiser.modules()
        if m.training and (isinstance(m, nn.modules.batchnorm._BatchNorm) or (_drops(m)))
    ]
    with torch.random.fork_rng(), _kept_buffers(denoiser):
        torch.manual_seed(0)
        given = errors(denoiser, points, some)
    with evaluating(denoiser):
        once, again = (errors(denoiser, points, some) for _ in range(2))
    repeatable = bool(torch.allclose(once, again, rtol=1e-4, atol=1e-9, equal_nan=True))
    return Mode(layers, given, once, repeatable)


def _drops(module: nn.Module) -> bool:
    return "dropout" in type(module).__name__.lower() and getattr(module, "p", 0) > 0


@contextlib.contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Batch normalisation moves its statistics in training mode: they are put back."""
    kept = [(b, b.clone()) for b in module.buffers()]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)


def _own(
    denoiser: Denoiser,
    made: Samples,
    judged: Points,
    references: References,
    names: list[str],
    s: Tensor,
    data: Tensor,
    held_out: Tensor | None,
) -> Own:
    std = references.spectrum.std
    assert made.trajectory is not None
    assert made.times is not None
    ratios = denoiser.schedule.noise_ratio(made.times)
    gaps, on_data = [], []
    whole = ~made.failed
    for name, level in zip(names, s.tolist(), strict=True):
        k = int((ratios.log() - math.log(level)).abs().argmin())
        y = made.trajectory[k][whole] / float(denoiser.schedule(made.times[k])[0])
        at = float(ratios[k])
        rows = whole.nonzero()[:, 0]
        told = judged.told.rows(rows)
        there = (
            predictions(denoiser, Points(y, torch.zeros_like(y), told), at) if math.isfinite(at) and at > 0 else None
        )
        here = predictions(denoiser, judged, level)
        noisy = judged.x0 + level * judged.eps
        gaps.append(_gap(there, references, name, y, at))
        on_data.append(_gap(here, references, name, noisy, level))
    x = made.x[whole]
    truth = held_out if held_out is not None else data
    few = truth[: 2 * len(judged.x0)]
    half = max(1, min(len(x), len(few) // 2))
    distance = metrics.sliced_wasserstein(x[:half], few[:half]) / std if len(x) else math.inf
    floor = metrics.sliced_wasserstein_floor(few, (half, half)) if len(few) >= 2 else Distance(0.0, 0.0)
    memorised = metrics.memorization(x, data[:POOL], held_out[:POOL]) if held_out is not None and len(x) else None
    return Own(
        made.x, made, torch.tensor(gaps, dtype=torch.float64, device="cpu"),
        torch.tensor(on_data, dtype=torch.float64, device="cpu"), distance,
        Distance(floor.mean / std, floor.std / std), memorised,
    )  # fmt: skip


def _gap(found: Tensor | None, references: References, name: str, y: Tensor, s: float) -> float:
    """rms distance to what the reference of that name predicts at noise s."""
    return math.nan if found is None or not len(y) else float(squares(found - references.of(name, y, s)).mean().sqrt())
