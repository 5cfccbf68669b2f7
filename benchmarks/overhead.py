"""What a solver costs beyond the network: `sample` against the same loop written by hand in bare torch.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py

Trivial denoiser x * 0.5 on 16 x 3 x 32 x 32, 50 steps, one thread, the two interleaved, median of the pairwise ratios.
The hand-written loops have their coefficients as Python numbers and draw noise with torch.randn. The last rows use the
quickstart's network, against its bare forwards.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield import grids

SHAPE, STEPS, ROUNDS = (16, 3, 32, 32), 50, 15
OUT = Path(__file__).parent / "out"


class Half(sf.Denoiser):
    schedule = sf.VP()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t * 0.5


def first_order(x: Tensor, draws: int = 0, evaluations: int = 1) -> Tensor:
    """x <- a x + b D (+ c z), the whole of Euler, DDIM, DDPM, Euler-Maruyama and a Langevin step."""
    for _ in range(STEPS * evaluations):
        x = torch.add(x * 0.99, x * 0.5, alpha=0.01)
        if draws:
            x = x.add_(torch.randn(x.shape), alpha=0.01)
    return x


def staged(x: Tensor, stages: int, draws: bool = False) -> Tensor:
    """Runge-Kutta and singlestep exponential steps: every point from x and the predictions before it."""
    for _ in range(STEPS):
        if draws:
            x = torch.add(x * 0.99, torch.randn(x.shape), alpha=0.01)
        y, predictions = x, []
        for _ in range(stages):
            predictions.append(y * 0.5)
            y = x * 0.99
            for d in predictions:
                y = y.add_(d, alpha=0.01)
        x = y
    return x


def multistep(x: Tensor, draws: bool = False) -> Tensor:
    """A field of x and D, and four of them to combine."""
    past = (x, x, x)
    for _ in range(STEPS):
        field = torch.add(x * 0.9, x * 0.5, alpha=0.1)
        past = (field, *past[:3])
        x = x * 0.99
        for f in past:
            x = x.add_(f, alpha=0.01)
        if draws:
            x = x.add_(torch.randn(x.shape), alpha=0.01)
    return x


CASES: list[tuple[sf.Solver, Callable[[Tensor], Tensor]]] = [
    (sf.Euler(), first_order),
    (sf.Euler(path=sf.Cosine(alpha_min=0.0)), first_order),
    (sf.DDIM(), first_order),
    (sf.Heun(), lambda x: staged(x, 2)),
    (sf.RK4(), lambda x: staged(x, 4)),
    (sf.DPMSolver(order=2), lambda x: staged(x, 2)),
    (sf.DPMSolver(order=3), lambda x: staged(x, 3)),
    (sf.DPMSolverPPS(order=2), lambda x: staged(x, 2)),
    (sf.DPMSolverPPS(order=3), lambda x: staged(x, 3)),
    (sf.DDPM(), lambda x: first_order(x, draws=1)),
    (sf.DDIM(eta=1.0), lambda x: first_order(x, draws=1)),
    (sf.AnalyticDPM(), lambda x: first_order(x, draws=1)),
    (sf.Multistep(), multistep),
    (sf.solvers.recommended(sf.VP(), STEPS).solver, multistep),  # the default: four values and a corrector
    (sf.StochasticAdams(quiet=0.0), lambda x: multistep(x, draws=True)),
    (sf.GaussianExact(sf.EulerMaruyama()), lambda x: first_order(x, draws=1)),
    (sf.EulerMaruyama(), lambda x: first_order(x, draws=1)),
    (sf.Churn(), lambda x: staged(x, 2, draws=True)),
    (sf.PredictorCorrector(), lambda x: first_order(x, draws=1, evaluations=2)),
    (sf.AnnealedLangevin(steps_per_level=2), lambda x: first_order(x, draws=1, evaluations=2)),
]


def seconds(fn: Callable[[], object]) -> float:
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def ratio(ours: Callable[[], object], bare: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float, float]:
    """(median, lower quartile, upper quartile) of ours / bare over interleaved rounds, each going first in turn."""
    ours()
    bare()
    pairs = []
    for i in range(rounds):
        times = {fn: seconds(fn) for fn in ((ours, bare) if i % 2 else (bare, ours))}
        pairs.append(times[ours] / times[bare])
    low, middle, high = statistics.quantiles(pairs, n=4)
    return middle, low, high


def against_bare_forwards(
    denoiser: sf.NetworkDenoiser, x: Tensor, label: Tensor, solver: sf.Solver, times: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    """`sample`, and the network alone on the same inputs."""

    def ours() -> object:
        return sf.sample(denoiser, x, solver=solver, times=times, cond={"label": label})

    seen: list[tuple[Tensor, Tensor]] = []
    hook = denoiser.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    ours()
    hook.remove()

    def bare() -> None:
        for inputs in seen:
            denoiser.net(*inputs, label=label)

    return ours, bare


def main() -> None:
    torch.set_num_threads(1)
    x, rows = torch.randn(SHAPE), []
    times = grids.uniform(STEPS, t_max=0.999)
    print(f"{'solver':64s} {'ratio':>6s}  quartiles")
    for solver, loop in CASES:
        with torch.no_grad():
            middle, low, high = ratio(lambda s=solver: sf.sample(Half(), x, solver=s, times=times), lambda f=loop: f(x))
        print(f"{solver!r:64.64s} {middle:6.2f}  {low:.2f}-{high:.2f}", flush=True)
        rows.append({"solver": repr(solver), "network": "x * 0.5", "ratio": middle, "quartiles": [low, high]})

    denoiser = sf.recipes.build(sf.recipes.presets.digits()).denoiser.eval()
    assert isinstance(denoiser, sf.NetworkDenoiser)
    for batch, steps, rounds in ((64, STEPS, ROUNDS), (998, 10, 7)):  # 998: as the quickstart samples
        x, label = torch.randn(batch, 1, 8, 8), torch.zeros(batch, dtype=torch.long)
        times = grids.uniform(steps, t_max=0.999)
        for solver in (sf.DDIM(), sf.DDPM()):
            with torch.no_grad():
                middle, low, high = ratio(*against_bare_forwards(denoiser, x, label, solver, times), rounds)
            name = f"digits U-Net, batch {batch}"
            print(f"{solver!r:42.42s} {name} {middle:6.3f}  {low:.3f}-{high:.3f}", flush=True)
            rows.append({"solver": repr(solver), "network": name, "ratio": middle, "quartiles": [low, high]})
    OUT.mkdir(exist_ok=True)
    (OUT / "overhead.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
