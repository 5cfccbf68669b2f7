"""The faults that are looked for, each one function of the evidence; a fault is a line of DETECTORS."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser, ExactDenoiser
from scorefield.denoisers.base import Unstated
from scorefield.diagnostics.evidence import Evidence
from scorefield.diagnostics.measured import SIGNIFICANT, certain, displacement
from scorefield.diagnostics.repairs import weighed
from scorefield.distributions import Gaussian
from scorefield.sampling import sample

MOVED = 0.1  # of the data's standard deviation: what levels behind a reference must cost, what is not stated, a gap
CHANGED = (
    0.05  # the same of what was tried and does better, a repair or another mode; healthy models have none that does
)
MOST = 0.5  # of what the model's error moves samples by: what a repair must take away
BEHIND = 0.25  # of the reference's error: how far behind it a level must be
STATED = 1.5  # factor between a stated standard deviation and the data's
SEEN = 0.1  # data's variance over the noise's along some direction, at t = 1
BLURRED = 0.05  # of the data's standard deviation, left at t = 0
ASTRAY, FLOORS = 0.2, 3.0  # of samples' distance to the data: over its floor, in standard deviations and in floors
BIASED = 0.1  # of the standard deviation of Gaussian data, by the steps alone


class Finding(NamedTuple):
    """One thing that is wrong."""

    name: str
    severity: float  # how far it moves samples, in the data's standard deviations
    levels: tuple[float, float] | None  # noise ratios sigma / alpha where it is; None where it is everywhere
    what: str
    cost: str
    remedy: str
    numbers: dict[str, float]

    @property
    def sentence(self) -> str:
        """What, where, at what cost, and what to change."""
        where = "" if self.levels is None else f", at noise {_range(self.levels)}"
        return f"{self.what[:1].upper()}{self.what[1:]}{where}: {self.cost}; {self.remedy}."


def _range(levels: tuple[float, float]) -> str:
    low, high = (f"{x:.2g}" for x in levels)
    return low if low == high else f"{low} to {high}"


def repaired(e: Evidence) -> Finding | None:
    """Another schedule, time embedding, transform or set of weights does far better."""
    r = e.repair
    if r is None:
        return None
    guessed = r.name != "stale average"  # the last weights are there; what else is tried is a guess at the cause
    if r.cost < CHANGED:
        return None
    s = e.s[::2]
    excess = (e.train_error.mean(1) - e.floor.error.mean(1))[::2].clamp(min=0)
    if guessed and r.cost < MOST * displacement(s, e.std, excess):
        return None
    part = weighed(s, e.std, r.gain)
    where = s[part > part.max() / 2]
    before = float(e.train_error[::2][r.worst].mean())
    after = before - float(r.gain[r.worst])
    cost = (
        f"{_moves(r.cost)}, and multiplies the squared error at noise {float(s[r.worst]):.2g} by {before / after:.3g}"
    )
    return Finding(
        r.name, r.cost, (float(where.min()), float(where.max())), r.what, cost, r.remedy,
        {**r.numbers, "error": before, "repaired": after},
    )  # fmt: skip


def train_mode(e: Evidence) -> Finding | None:
    """Dropout or batch normalisation draw, or look at the batch, while the model is evaluated."""
    m = e.mode
    if not m.repeatable:
        return Finding(
            "train mode", 1.0, None, "the same input gives another answer each time, in eval mode too",
            "nothing else that is measured of it means much",
            "evaluate the network in eval mode: a part of it that the denoiser doesn't register is in training mode",
            {},
        )  # fmt: skip
    if not m.layers:
        return None
    s = e.s[::2]
    gain = m.error - m.evaluated
    cost = displacement(s, e.std, gain.mean(1))
    if cost < CHANGED or not certain(s, e.std, gain):
        return None
    kinds = ", ".join(sorted(set(m.layers)))
    return Finding(
        "train mode", cost, None, f"the model is in training mode, and {kinds} acts", _moves(cost),
        "call denoiser.eval() before it is evaluated; sf.sample does so itself", {"layers": float(len(m.layers))},
    )  # fmt: skip


def statistics(e: Evidence) -> Finding | None:
    """The stated mean and standard deviation, or sigma_data, are not the data's."""
    d, (mean, std) = e.subject.denoiser, _measured(e)
    one = e.subject.spectrum.std_about_one_mean * std / e.std  # two ways to state it, both right
    std = min((std, one), key=lambda way: abs(math.log(float(d.data_std) / way)))
    stated = {"data_std": d.data_std}
    if (own := getattr(getattr(d, "parameterization", None), "sigma_data", None)) is not None:
        stated["sigma_data"] = own
    given = {name: float(value) for name, value in stated.items() if not isinstance(value, Unstated)}
    its_mean = float(d.data_mean.double().mean()) if isinstance(d.data_mean, Tensor) else float(d.data_mean)
    unstated = isinstance(d.data_std, Unstated)
    off = {name: value for name, value in given.items() if abs(math.log(value / std)) > math.log(STATED)}
    cost = _start_cost(e, mean, std, its_mean, float(d.data_std))
    shifted = abs(its_mean - mean) / std
    if not off and cost < MOVED:
        return None
    name, value = next(iter(off.items()), ("data_std", float(d.data_std)))
    says = f"{name} is not given, and {value:g} is taken," if unstated and not off else f"{name} is {value:.3g}"
    return Finding(
        "data statistics", cost, None,
        f"{says} where the data have {std:.3g} (mean {mean:.3g}, stated {its_mean:.3g})",
        f"start and steps alone put samples of Gaussian data {cost:.2g} standard deviations off",
        f"set data_mean={mean:.3g}, data_std={std:.3g}, and train with that sigma_data",
        {"stated": value, "measured": std, "shift": shifted, "cost": cost},
    )  # fmt: skip


def noise_range(e: Evidence) -> Finding | None:
    """The process ends before the data are noise, or begins after they are blurred."""
    schedule = e.subject.denoiser.schedule
    low, high = (float(schedule.noise_ratio(t)) for t in (0.0, 1.0))
    std = _measured(e)[1]
    variances = e.start * (std / e.std) ** 2
    share = float(variances.max()) / high**2 if math.isfinite(high) else 0.0
    if share > SEEN:
        # along a direction of variance v the start is sqrt(s^2 + sd^2) wide for sqrt(s^2 + v), and stays as wrong
        wrong = ((std**2 + high**2) / (variances + high**2)).sqrt() - 1
        cost = float((wrong.square() * variances).mean().sqrt()) / std
        return Finding(
            "noise range", max(cost, share / (1 + share)), (high, high),
            f"the process ends where the data are still seen through the noise (sigma / alpha = {high:.3g} at t = 1)",
            f"along their leading direction the data's variance is {share:.2g} of the noise's, and samples start from "
            "a Gaussian that does not know them",
            f"take a schedule that ends at sigma / alpha of at least {10 * math.sqrt(float(variances.max())):.2g}, and "
            "train there",
            {"sigma_over_alpha": high, "snr": share},
        )  # fmt: skip
    blurred = math.sqrt(float(e.error[0].mean().clamp(min=0))) / e.std if low > BLURRED * e.std / 2 else 0.0
    if blurred > BLURRED:
        return Finding(
            "noise range", blurred, (low, low),
            f"the process begins at noise {low:.3g}, where the data are blurred already",
            f"what is finer than {blurred:.2g} standard deviations is lost in every sample",
            f"take a schedule that begins at noise of at most {0.02 * e.std:.2g}, and train there",
            {"sigma_over_alpha": low, "blur": blurred},
        )  # fmt: skip
    return None


def memorisation(e: Evidence) -> Finding | None:
    """Data it was trained on are denoised better than others of the same law."""
    if not e.held_out:
        return None
    gap = e.error.mean(1) - e.train_error.mean(1)
    cost = displacement(e.s, e.std, gap)
    part = weighed(e.s, e.std, gap)
    ratios = torch.where(part > part.max() / 4, e.error.mean(1) / e.train_error.mean(1), 0.0)
    ratio, worst = float(ratios.max()), int(ratios.argmax())
    if cost < MOVED or ratio < 1 + 2 * BEHIND:
        return None
    where = e.s[part > part.max() / 2]
    m = e.own.memorised
    copies = "" if m is None else f", and {m.value:.0%} of its samples are nearer to training data than to others"
    return Finding(
        "memorisation", cost, (float(where.min()), float(where.max())),
        "the model knows its training data by heart",
        f"on other data of the same law its squared error is {ratio:.3g} times as large at noise "
        f"{float(e.s[worst]):.2g}{copies}",
        "train on more data, augment, or stop earlier",
        {"ratio": ratio, "share": math.nan if m is None else m.value},
    )  # fmt: skip


def untrained(e: Evidence) -> Finding | None:
    """Levels where simpler denoisers of the same data, or the model's own at more noise, do better."""
    if repaired(e) is not None:
        return None  # the levels are wrong because of that
    error, floor = e.error, e.floor.error
    overfit = (error.mean(1) - e.train_error.mean(1)).clamp(min=0)
    behind, stderr = (error - floor).mean(1), (error - floor).std(1) / error.shape[1] ** 0.5
    own = error.mean(1) - e.noisier
    spread = error.std(1) / error.shape[1] ** 0.5
    by_own = own > behind
    excess = torch.where(by_own, own, behind) - overfit
    stderr = torch.where(by_own, 1.5 * spread, stderr)
    bad = (excess > BEHIND * (error.mean(1) - excess)) & (excess > SIGNIFICANT * stderr)
    cost = displacement(e.s, e.std, torch.where(bad, excess, 0.0))
    if cost < MOVED:
        return None
    part = weighed(e.s, e.std, torch.where(bad, excess, 0.0))
    worst = int(part.argmax())
    where = e.s[part > part.max() / 4]
    everywhere = float(bad.double().mean()) > 0.7
    times = float(error[worst].mean() / (error[worst].mean() - excess[worst]))
    whose = "its own at more noise" if bool(by_own[worst]) else e.floor.names[worst]
    return Finding(
        "untrained levels", cost, (float(where.min()), float(where.max())),
        "the model denoises badly" + (" at all levels" if everywhere else ""),
        f"{_moves(cost)}; at noise {float(e.s[worst]):.2g} its squared error is {times:.3g} times what {whose} has",
        "train longer, or with a larger network" if everywhere else "train there: give these levels weight in `times`",
        {"times": times},
    )  # fmt: skip


def steps(e: Evidence) -> Finding | None:
    """The user's number of steps is too small for the user's solver."""
    if e.bias is None:
        return None
    off = max(abs(e.bias.std - 1), abs(e.bias.mean - 1))
    if not off > BIASED:
        return None
    return Finding(
        "steps", off, None, "too few steps for this solver",
        f"they alone multiply the standard deviation of Gaussian data by {e.bias.std:.3g} and their mean by "
        f"{e.bias.mean:.3g}",
        "take more evaluations, or name no solver", {"std": e.bias.std, "mean": e.bias.mean},
    )  # fmt: skip


SYMPTOMS = ("untrained levels", "own trajectories")  # in this order, after what may be their cause


def astray(e: Evidence) -> Finding | None:
    """Samples are far from the data, whatever the errors on data's noisings are."""
    own = e.own
    over = own.distance - own.floor.mean
    if over < ASTRAY or own.distance < FLOORS * own.floor.mean:
        return None
    apart = own.gap > 2 * own.on_data
    levels = (float(e.s[apart].min()), float(e.s[apart].max())) if bool(apart.any()) else None
    return Finding(
        "own trajectories", over, levels, "its own trajectories leave what it was trained on",
        f"its samples are {own.distance:.2g} of the data's standard deviation from the data (sliced W2; as many data "
        f"are {own.floor.mean:.2g} from others)",
        "train longer, above all at the noisiest of these levels, or take more evaluations",
        {"distance": own.distance, "floor": own.floor.mean},
    )  # fmt: skip


DETECTORS: tuple[Callable[[Evidence], Finding | None], ...] = (
    train_mode, repaired, statistics, noise_range, memorisation, untrained, steps, astray,
)  # fmt: skip


def _moves(cost: float) -> str:
    return f"it moves samples by about {cost:.2g} of the data's standard deviation"


def _measured(e: Evidence) -> tuple[float, float]:
    """The data's, in the units that fit the model: after a change of units that was found to be one."""
    found = repaired(e)
    return e.subject.measured if found is None or e.repair is None else e.repair.repaired.measured


def _start_cost(e: Evidence, mean: float, std: float, stated_mean: float, stated_std: float) -> float:
    """How far off the mean or standard deviation of N(mean, std^2) comes out when the model's statistics are stated."""
    law = Gaussian(
        torch.full((1,), mean, dtype=torch.float64, device="cpu"),
        torch.full((1,), std**2, dtype=torch.float64, device="cpu"),
    )

    def spread(told_mean: float, told_std: float) -> tuple[float, float]:
        exact: Denoiser = ExactDenoiser(law, e.subject.denoiser.schedule)
        exact.data_mean, exact.data_std = told_mean, told_std
        x = sample(exact, (2048, 1), solver=e.subject.solver, nfe=e.subject.nfe, dtype=torch.float64).x
        return float(x.mean()), float(x.std())

    ours, theirs = spread(mean, std), spread(stated_mean, stated_std)
    return max(abs(theirs[0] - ours[0]), abs(theirs[1] - ours[1])) / std
