"""`choose`: the solver whose samples are nearest to the data, for one trained network and number of evaluations.

The default follows the network's own path most exactly, the network's errors included. Noise added on the way lets
later levels mend what earlier ones did wrong, or adds what they do wrong: which of the two depends on the network, so
it is measured. Each solver draws as many samples from the same noise, of the classes of the data; judged are their
Frechet distances to the data in the data's first principal components,

    gain_s = d(default) - d(s),     its standard error by the jackknife over groups of samples, paired by their noise

and another solver than the default is chosen where the gain of the best is above twice its error, and a twentieth of
the default's distance: for less one does not leave the path that can be encoded and has a likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scorefield import metrics
from scorefield.denoisers.base import require
from scorefield.runs.beside import some
from scorefield.runs.trained import Trained
from scorefield.runs.tunings import Choice

CANDIDATES = ("stochastic-adams", "analytic-dpm", "dpm-solver++", "unipc", "ddim")  # beside the default
COMPONENTS, REAL, GROUPS = 48, 10_000, 10
WORTH = 0.05  # of the default's distance

Progress = Callable[[float], None]


@torch.no_grad()
def choose(
    run: Trained,
    nfe: int,
    *,
    n: int = 1000,
    solvers: Sequence[str] = CANDIDATES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Choice:
    """The best of the default and `solvers` at `nfe` evaluations, by `n` samples of each and the run's held-out data.

    Args:
        n: costs (len(solvers) + 1) n nfe evaluations of the network.
        progress: called with the fraction that is done.

    Raises:
        ValueError: for fewer than 20 samples or data, or a model without a score.
    """
    require(run.denoiser, "score", "choosing a solver")
    source, what = run.held_out()
    if n < 2 * GROUPS or len(source) < 2 * GROUPS:
        raise ValueError(f"choosing a solver takes {2 * GROUPS} samples and data; got {n} and {len(source)}")
    real = some(run, source, REAL, seed)
    # no more components than so many samples have a covariance of
    features = metrics.features.pca(real.x, min(COMPONENTS, real.x[0].numel(), len(real.x) // 4, n // 4))
    target, found = features(real.x), dict[str, Tensor]()
    turn = torch.arange(n, device="cpu")
    asked = None if real.label is None or "label" not in run.conditions else real.label[turn * len(real.label) // n]
    for i, name in enumerate(("default", *solvers)):
        solver = None if name == "default" else name
        drawn = run.sample(n, label=asked, nfe=nfe, solver=solver, seed=seed, tuned=False)
        found[name] = features(run.to_model(drawn.raw, turn, seed=seed + 1).cpu())
        if progress is not None:
            progress((i + 1) / (len(solvers) + 1))
    distance = {name: _distance(x, target) for name, x in found.items()}
    gain = {name: _gain(found["default"], found[name], target) for name in solvers}
    best = min(distance, key=lambda name: distance[name])
    if math.isfinite(distance["default"]):
        sure = best != "default" and gain[best][0] > max(2 * gain[best][1], WORTH * distance["default"])
    else:
        sure = math.isfinite(distance[best])
    return Choice(best if sure else None, distance, gain, what, n)


def _distance(x: Tensor, target: Tensor) -> float:
    """Infinite for samples that are not finite."""
    return metrics.frechet_distance(x, target) if bool(x.isfinite().all()) else math.inf


def _gain(default: Tensor, other: Tensor, target: Tensor) -> tuple[float, float]:
    """d(default) - d(other), and its jackknife error: the same noise is left out of both."""

    def difference(rows: Tensor) -> float:
        return _distance(default[rows], target) - _distance(other[rows], target)

    if not bool(other.isfinite().all()):
        return -math.inf, 0.0
    if not bool(default.isfinite().all()):
        return math.inf, 0.0
    group = torch.arange(len(default), device="cpu") % GROUPS
    without = torch.tensor([difference(group != g) for g in range(GROUPS)], dtype=torch.float64, device="cpu")
    error = math.sqrt((GROUPS - 1) / GROUPS * float((without - without.mean()).square().sum()))
    return difference(group >= 0), error
