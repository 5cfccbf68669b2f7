"""Changes to a model or its data that undo one fault: the fault is the change that lowers the error most.

A repair is tried, not inferred from symptoms: a network that was trained on another schedule denoises well on that one,
data in other units are denoised well in the model's, a shifted time embedding is right when shifted back.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from scorefield import catalogue
from scorefield.denoisers import Denoiser, NoiseConditional
from scorefield.diagnostics.measured import Points, certain, displacement, errors
from scorefield.diagnostics.subject import Subject
from scorefield.schedules import Schedule

FRACTIONS = (0.02, 0.05, 0.12, 0.3, 0.7)  # of the range of the network's level, either way
FACTORS = (1000.0, 1e-3)  # steps for times, times for steps
FEW, TRIED = 64, 3  # data that all changes are tried on, and how many are tried on more
TURNED = 1.1  # how much better data that are turned over must do: many laws are symmetric
BEST = 5e-3  # of the range: how finely a shift is sought


class Repair(NamedTuple):
    """One change, tried."""

    name: str  # of the fault
    what: str  # what is wrong, in words
    remedy: str
    cost: float  # how far the fault moves samples: what `displacement` says of the error it takes away
    gain: Tensor  # (L,) squared error an entry that it takes away
    worst: int  # level
    numbers: dict[str, float]
    repaired: Subject  # with the change made


@dataclass(frozen=True)
class _Change:
    name: str
    what: str
    remedy: str
    subject: Subject
    numbers: dict[str, float]
    doubt: float = 1.0  # its cost is divided by this where it competes: of two that do as well, the plainer


def best(subject: Subject, s: Tensor, points: Points) -> Repair | None:
    """The change that takes away the most error, of all there are; None where none takes away any."""
    changes = [change for propose in PROPOSALS for change in propose(subject, s, points)]
    few = points.few(FEW)
    before = errors(subject.denoiser, few, s)
    std = subject.spectrum.std
    promise = [displacement(s, std, _gain(change, subject, s, few, before).mean(1)) for change in changes]
    chosen = sorted(range(len(changes)), key=lambda i: -promise[i] / changes[i].doubt)[:TRIED]
    before = errors(subject.denoiser, points, s)
    found = [(_tried(changes[i], subject, s, points, before), changes[i].doubt) for i in chosen if promise[i] > 0]
    sure = [(repair, repair.cost / doubt) for repair, doubt in found if repair is not None]
    return max(sure, key=lambda pair: pair[1])[0] if sure else None


def _gain(change: _Change, subject: Subject, s: Tensor, points: Points, before: Tensor) -> Tensor:
    """What the change takes from the squared errors `before` `(L, n)`, in the units before it."""
    scale = change.subject.scale / subject.scale
    # the noise is on the data: scaled with them, or the level would be another one
    after = errors(change.subject.denoiser, _moved(points, subject, change.subject), s * abs(scale)) / scale**2
    return before - after


def _tried(change: _Change, subject: Subject, s: Tensor, points: Points, before: Tensor) -> Repair | None:
    std = subject.spectrum.std
    gain = _gain(change, subject, s, points, before)
    if not certain(s, std, gain):
        return None
    mean = gain.mean(1)
    return Repair(
        change.name, change.what, change.remedy, displacement(s, std, mean), mean,
        int(weighed(s, std, mean).argmax()), change.numbers, change.subject,
    )  # fmt: skip


def weighed(s: Tensor, std: float, excess: Tensor) -> Tensor:
    """What `displacement` adds up, where it is positive: the worst level has the largest."""
    return excess.nan_to_num(0.0, 0.0, 0.0).clamp(min=0).sqrt() / (s**2 + std**2).sqrt()


def _moved(points: Points, old: Subject, new: Subject) -> Points:
    scale, shift = new.scale / old.scale, new.shift - new.scale / old.scale * old.shift
    return points if (scale, shift) == (1.0, 0.0) else points._replace(x0=scale * points.x0 + shift)


# What may be changed


def _schedules(subject: Subject, s: Tensor, points: Points) -> Iterator[_Change]:
    """The default of each kind of process, where the model answers otherwise on it."""
    own = subject.denoiser.schedule
    if isinstance(own, nn.Module):
        return
    for name in catalogue.SCHEDULES:
        other: Schedule = catalogue.make("schedule", name, catalogue.SCHEDULES)
        if other == own:
            continue
        changed = _copy(subject.denoiser, schedule=other)
        yield _Change(
            "schedule",
            f"the network answers as one that was trained on the schedule {name}, not on {type(own).__name__}",
            f"give the denoiser the schedule it was trained on: {name}() fits far better",
            replace(subject, denoiser=changed),
            {},
        )


def _levels(subject: Subject, s: Tensor, points: Points) -> Iterator[_Change]:
    """The level the network is told, shifted or in other units."""
    denoiser = subject.denoiser
    if not isinstance(denoiser, NoiseConditional):
        return
    base = _level_of(denoiser)
    ends = [float(base(t)) for t in (subject.time(float(s[0])), subject.time(float(s[-1])))]
    span = abs(ends[1] - ends[0])
    if not 0 < span < math.inf:
        return

    def shifted(by: float) -> Denoiser:
        return _copy(denoiser, level=lambda t: base(t) + by)

    few, at = points.few(FEW), s[:: max(1, len(s) // 8)]

    def error_at(by: float) -> float:
        mean = errors(shifted(by), few, at).mean(1)
        return float((mean / (at**2 + subject.spectrum.std**2)).nan_to_num(1e30, 1e30, 1e30).sum())

    tried = {0.0: error_at(0.0)} | {sign * f * span: error_at(sign * f * span) for f in FRACTIONS for sign in (1, -1)}
    by = _minimum(error_at, tried, BEST * span)
    if by:
        yield _Change(
            "time embedding",
            f"the level the network is told is off by {-by:+.3g} (it runs from {ends[0]:.3g} to {ends[1]:.3g})",
            "tell the network the level it was trained with: check the offset of its time embedding",
            replace(subject, denoiser=shifted(by)),
            {"shift": -by, "span": span},
        )
    for factor in FACTORS:
        yield _Change(
            "time embedding",
            f"the network expects its level {factor:g} times as large",
            f"multiply the level by {factor:g}: level=lambda t: {factor:g} * t",
            replace(subject, denoiser=_copy(denoiser, level=lambda t, factor=factor: factor * base(t))),
            {"factor": factor},
        )


def _minimum(f: Callable[[float], float], tried: dict[float, float], finest: float) -> float:
    """Where `f` is least, from the best of what was tried, by halving the steps about it."""
    known = sorted(tried)
    here = min(known, key=lambda x: tried[x])
    near = [abs(x - here) for x in known if x != here]
    step = min(near) / 2
    while step > finest:
        for x in (here - step, here + step):
            tried[x] = f(x)
        here = min((here - step, here, here + step), key=lambda x: tried[x])
        step /= 2
    return here


def _units(subject: Subject, s: Tensor, points: Points) -> Iterator[_Change]:
    """The data in other units: those of the model's own samples, the stated ones, turned over as well."""
    mean, std = float(subject.spectrum.mean.mean()), subject.spectrum.std
    aims = {"of its samples": subject.believed}
    if subject.stated is not None:
        aims["it states"] = subject.stated
    for whose, (its_mean, its_std) in aims.items():
        if not (0 < its_std < math.inf and math.isfinite(its_mean)):  # of samples that failed
            continue
        for sign in (1, -1):
            scale = sign * its_std / std
            shift = its_mean - scale * mean
            if abs(math.log(abs(scale))) < 1e-9 and sign > 0 and abs(shift) < 1e-9 * std:
                continue
            turned = ", turned over" if sign < 0 else ""
            yield _Change(
                "transform",
                f"the data are in other units than the model's: they have mean {mean:.3g} and standard deviation "
                f"{std:.3g}, the model's {its_mean:.3g} and {its_std:.3g} ({whose}){turned}",
                f"transform the data as in training: x -> {scale:.3g} x {shift:+.3g} fits far better",
                subject.scaled(scale, shift),
                {"scale": scale, "shift": shift},
                TURNED if sign < 0 else 1.0,
            )


def _weights(subject: Subject, s: Tensor, points: Points) -> Iterator[_Change]:
    """The present weights in the place of the averaged ones."""
    if subject.present is not None:
        yield _Change(
            "stale average",
            "the averaged weights are far behind the present ones",
            "shorten the average (a smaller ema_decay, or its ramp), train longer, or sample from the present weights",
            replace(subject, denoiser=subject.present, present=None),
            {},
        )


def _level_of(denoiser: NoiseConditional) -> Callable[[Tensor], Tensor]:
    return denoiser.told_level


def _copy(denoiser: Denoiser, **changed: object) -> Denoiser:
    """The same weights with another attribute; the original keeps its own."""
    other = copy.copy(denoiser)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


PROPOSALS: tuple[Callable[[Subject, Tensor, Points], Iterator[_Change]], ...] = (_weights, _units, _schedules, _levels)
