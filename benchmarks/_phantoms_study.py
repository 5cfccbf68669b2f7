"""Phantoms of 128 x 128: tomography from 30 views and MRI with a quarter of k-space; Shepp-Logan and held-out ones."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

import _reconstruction as r
from _variation import total_variation, tuned_weight
from scorefield.data import phantoms
from scorefield.inverse import SpectralBridge, calibrate_spectrum, condition
from scorefield.inverse.operators import Fourier, LinearOperator, Radon, cartesian_mask

SIZE = 128
SHAPE = (1, SIZE, SIZE)
ITERATIONS = 250


class Task(NamedTuple):
    operator: LinearOperator
    noise_std: float
    weights: tuple[float, ...]  # of total variation, to choose from


def tasks() -> dict[str, Task]:
    return {
        # pixel lengths: 1 % of the largest line integral of Shepp-Logan
        "CT, 30 views": Task(Radon(SHAPE, 30), 0.5, (0.5, 1.5, 5.0)),
        # orthonormal Fourier transform of values in [0, 1]
        "MRI, 4x": Task(Fourier(cartesian_mask(SHAPE[1:], 4.0, seed=0)), 0.02, (3e-3, 1e-2, 3e-2)),
    }


def classical(operator: LinearOperator, y: Tensor) -> dict[str, Tensor]:
    if isinstance(operator, Radon):
        return {
            "filtered back-projection, ramp": operator.fbp(y),
            "filtered back-projection, Hann": operator.fbp(y, "hann"),
        }
    return {"zero-filled": operator.adjoint(y)}


def study(args: argparse.Namespace) -> None:
    prior = r.prior(args.run)
    count = args.count or 3
    truth = torch.cat([phantoms.shepp_logan(SIZE), phantoms.ellipses(count - 1, SIZE, seed=1)])
    unseen = prior.to_model(phantoms.ellipses(8, SIZE, seed=3))
    spectrum = calibrate_spectrum(prior.denoiser, unseen, levels=12, generator=torch.Generator().manual_seed(0))
    method = SpectralBridge(spectrum, tolerance=1e-2)
    known = tasks()
    for name, task in known.items():
        if args.only in name:
            outcome = reconstruct(name, task, prior, method, truth, args.nfe)
            r.keep("phantoms", name, outcome, nfe=args.nfe, count=count)
    done = r.kept("phantoms", list(known))
    columns = ["truth", "FBP, zero-filled", "total variation", "posterior mean", "a draw", "5 sd", "5 |error|"]
    panels, labels = ([x for o in done.values() for x in part(o)] for part in (lambda o: o.panels, lambda o: o.labels))
    r.save_picture(r.gallery(panels, columns, labels, cell=1.25), "reconstruction-phantoms", dpi=80)
    r.draw_calibration({k: o.calibration for k, o in done.items() if o.calibration}, "reconstruction-calibration")


def reconstruct(name: str, task: Task, prior: r.Prior, method: SpectralBridge, truth: Tensor, nfe: int) -> r.Outcome:
    operator, std = task.operator, task.noise_std
    tuning = phantoms.ellipses(2, SIZE, seed=2)
    y, y_tuning = (r.measured(operator, x, std, seed) for x, seed in ((truth, 1), (tuning, 2)))
    weight = tuned_weight(operator, tuning, y_tuning, task.weights, iterations=ITERATIONS)
    before = classical(operator, y)
    variation = total_variation(operator, y, weight, iterations=ITERATIONS)
    rows = [r.row(label, estimate, truth, operator, y, std) for label, estimate in before.items()]
    rows.append(r.row(f"total variation, weight {weight:g}", variation, truth, operator, y, std))
    print(f"{name}\n{r.table(rows)}", flush=True)
    with r.Timer() as timer:
        posterior = condition(prior.denoiser, prior.likelihood(operator, y, std), method)
        draws = prior.to_picture(posterior.sample(r.DRAWS, nfe=nfe, seed=3, chunk=r.DRAWS).x)
    found = r.calibration(draws, truth)
    rows.append(r.row("posterior mean", draws.mean(1), truth, operator, y, std))
    rows[-1] |= {
        "seconds a draw": timer.seconds / draws.shape[1] / len(truth),
        "coverage of each": [r.calibration(d[None], t[None]).coverage for d, t in zip(draws, truth, strict=True)],
    }
    rows.append(r.row("one draw", draws[:, 0], truth, operator, y, std))
    print(f"\n{name}, noise {std:g}: all\n{r.table(rows)}\n\nShepp-Logan\n{r.table(rows, [0])}")
    print(f"coverage of 90 % intervals {found.coverage:.3f}, error / sd {found.ratio:.2f}")
    print(f"{timer.seconds / draws.shape[1] / len(truth):.1f} CPU-seconds a draw", flush=True)
    panels = []
    for i in range(2):
        mean = draws[i].mean(0)
        first = [truth[i], list(before.values())[-1][i], variation[i], mean, draws[i, 0]]
        panels.append([*first, 5 * draws[i].std(0), 5 * (mean - truth[i]).abs()])
    return r.Outcome(rows, [f"{name}: Shepp-Logan", f"{name}: held out"], panels, found)
