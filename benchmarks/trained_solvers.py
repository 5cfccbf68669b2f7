"""Solvers on a trained network: quality, evaluations and time, and how far each is from its own fine trajectories.

    OMP_NUM_THREADS=1 MNIST=folder/with/idx/files python benchmarks/mnist.py --cpu-seconds 3000 --methods ours
    OMP_NUM_THREADS=1 MNIST=folder/with/idx/files python benchmarks/trained_solvers.py
    OMP_NUM_THREADS=1 python benchmarks/trained_solvers.py --run runs/quickstart

DDPM's 1,000 evaluations take 11 of some 20 CPU-minutes. The network is the one `mnist.py` has trained, or that of a run
folder. 'Fréchet' is of `--images` samples, classes in turn, as in `mnist.py`, and for a run on the pixels themselves,
against the data it was trained on; 'error' the RMS distance to the end of the same network's 1,000-evaluation
trajectory (Runge-Kutta of order 4) from the same noise, over the rms of the images, for `--paths` of them; CPU-s are
seconds of one thread for 1,000 images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_model
from torch import Tensor

import scorefield as sf
from _mnist import OUT, frechet, load
from _mnist_recipes import DIGITS, ours
from scorefield import grids, metrics, recipes
from scorefield.data import units

SEED = 0
CIRCLE = sf.Cosine(0.0)


class Subject(NamedTuple):
    """A trained network, and how good its samples are."""

    denoiser: sf.Denoiser
    event: tuple[int, ...]
    score: Callable[[Tensor], float]  # Fréchet distance of samples in model units
    floor: float  # that of real data: as many training data, or for a run those held out


def mnist(network: Path, images: int) -> Subject:
    denoiser = ours().network
    assert isinstance(denoiser, sf.NetworkDenoiser)
    load_model(denoiser, str(network))
    denoiser.eval()
    train, _ = load("train")
    mean, std = float(train.float().mean()), float(train.float().std())
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:images]

    def score(x: Tensor) -> float:
        return frechet((x * std + mean).round().clamp(0, 255).to(torch.uint8))

    return Subject(denoiser, (1, 28, 28), score, frechet(train[chosen]))


def of_run(folder: Path) -> Subject:
    loaded = sf.load(folder)
    assert loaded.transform is not None
    assert loaded.recipe is not None
    experiment = recipes.build(loaded.recipe)
    source = experiment.source
    raw = source.batch(torch.arange(len(source))).x
    assert experiment.test is not None
    held_out = experiment.test.batch(torch.arange(len(experiment.test))).x

    def score(x: Tensor) -> float:
        grey = units.raw(x, loaded.transform)
        return metrics.frechet_distance(grey.flatten(1).double(), raw.flatten(1).double())

    floor = metrics.frechet_distance(held_out.flatten(1).double(), raw.flatten(1).double())
    return Subject(loaded.denoiser, loaded.event_shape, score, floor)


def cases(denoiser: sf.Denoiser) -> list[tuple[str, sf.Solver | None, Tensor | None, int]]:
    """(name, solver, grid, evaluations); the published methods on the grid of rho = 7 that their authors use."""
    karras = lambda n: grids.karras(denoiser.schedule, n, s_max=40.0, s_min=0.02)  # noqa: E731
    found: list[tuple[str, sf.Solver | None, Tensor | None, int]] = []
    for nfe in (5, 8, 10, 15, 20, 30, 50):
        found.append(("default", None, None, nfe))
        found.append(("StochasticAdams", sf.StochasticAdams(), None, nfe))
    for nfe in (10, 20, 50):
        found.append(("DPM-Solver++(2M)", sf.DPMSolverPP(), karras(nfe), nfe))
        found.append(("UniPC-2", sf.UniPC(), karras(nfe), nfe))
        found.append(("DDIM", sf.DDIM(), karras(nfe), nfe))
        found.append(("DDIM eta = 1", sf.DDIM(eta=1.0), karras(nfe), nfe))
    found.append(("DDPM", sf.DDPM(), karras(1000), 1000))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", type=Path, default=OUT / "mnist-ours-3000.safetensors")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--solvers", default="", help="comma-separated names of the table; all unless given")
    parser.add_argument("--run", type=Path, help="a run folder, instead of --network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run is not None:
        subject = of_run(options.run)
    elif options.network.exists():
        subject = mnist(options.network, options.images)
    else:
        parser.error(f"no network at {options.network}; train one with benchmarks/mnist.py")
    denoiser = subject.denoiser

    def run(n: int, solver: sf.Solver | None, times: Tensor | None, nfe: int) -> Tensor:
        cond = {"label": torch.arange(n) % DIGITS}
        budget = nfe if times is None else None
        shape = (n, *subject.event)
        return sf.sample(denoiser, shape, solver=solver, times=times, nfe=budget, cond=cond, seed=SEED, chunk=250).x

    print(f"floor: {subject.floor:.3f}")
    fine = run(options.paths, sf.RK4(path=CIRCLE), grids.angular(denoiser.schedule, 250), 0)
    print(f"{'solver':18s} {'NFE':>5s} {'Fréchet':>8s} {'error':>8s} {'CPU-s':>7s}")
    rows = []
    wanted = options.solvers.split(",") if options.solvers else None
    for name, solver, times, nfe in cases(denoiser):
        if wanted and name not in wanted:
            continue
        start = time.process_time()
        x = run(options.images, solver, times, nfe)
        seconds = (time.process_time() - start) * 1000 / options.images
        error = None
        if solver is None or not solver.stochastic:
            error = float((x[: options.paths] - fine).norm() / fine.norm())
        rows.append({"solver": name, "nfe": nfe, "frechet": subject.score(x), "error": error, "cpu_seconds": seconds})
        said = f"{error:8.4f}" if error is not None else f"{'':8s}"
        print(f"{name:18s} {nfe:5d} {rows[-1]['frechet']:8.3f} {said} {seconds:7.1f}", flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / f"trained-solvers{'' if options.run is None else '-' + options.run.name}.json").write_text(
        json.dumps(rows, indent=1)
    )


if __name__ == "__main__":
    main()
