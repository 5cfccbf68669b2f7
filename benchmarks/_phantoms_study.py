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
ITERATIONS = 300


class Task(NamedTuple):
    operator: LinearOperator
    noise_std: float
    weights: tuple[float, ...]  # of total variation, to choose from


def tasks() -> dict[str, Task]:
    return {
        # pixel lengths: 1 % of the largest line integral of Shepp-Logan
        "CT, 30 views": Task(Radon(SHAPE, 30), 0.5, (0.3, 1.0, 3.0, 10.0)),
        # orthonormal Fourier transform of values in [0, 1]
        "MRI, 4x": Task(Fourier(cartesian_mask(SHAPE[1:], 4.0, seed=0)), 0.02, (3e-4, 1e-3, 3e-3, 1e-2)),
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
    count = args.count or 4
    truth = torch.cat([phantoms.shepp_logan(SIZE), phantoms.ellipses(count - 1, SIZE, seed=1)])
    tuning = phantoms.ellipses(2, SIZE, seed=2)
    unseen = prior.to_model(phantoms.ellipses(12, SIZE, seed=3))
    spectrum = calibrate_spectrum(prior.denoiser, unseen, generator=torch.Generator().manual_seed(0))
    method = SpectralBridge(spectrum, tolerance=1e-2)
    results, shown, labels, calibrations = {}, [], [], {}
    for name, task in tasks().items():
        operator, std = task.operator, task.noise_std
        y = r.measured(operator, truth, std, seed=1)
        weight = tuned_weight(
            operator, tuning, r.measured(operator, tuning, std, seed=2), task.weights, iterations=ITERATIONS
        )
        before = classical(operator, y)
        variation = total_variation(operator, y, weight, iterations=ITERATIONS)
        rows = [r.row(label, estimate, truth, operator, y, std) for label, estimate in before.items()]
        rows.append(r.row(f"total variation, weight {weight:g}", variation, truth, operator, y, std))
        posterior = condition(prior.denoiser, prior.likelihood(operator, y, std), method)
        with r.Timer() as timer:
            got = posterior.sample(r.DRAWS, nfe=args.nfe, seed=3, chunk=r.DRAWS)
        draws = prior.to_picture(got.x)
        calibrations[name] = r.calibration(draws, truth)
        rows.append(r.row("posterior mean", draws.mean(1), truth, operator, y, std))
        rows[-1] |= {
            "seconds a draw": timer.seconds / draws.shape[1] / count,
            "calibration": calibrations[name]._asdict(),
            "coverage of each": [r.calibration(d[None], t[None]).coverage for d, t in zip(draws, truth, strict=True)],
        }
        rows.append(r.row("one draw", draws[:, 0], truth, operator, y, std))
        results[name] = rows
        print(f"\n{name}, noise {std:g}: all\n{r.table(rows)}\n\nShepp-Logan\n{r.table(rows, [0])}", flush=True)
        print(
            f"coverage of 90 % intervals {calibrations[name].coverage:.3f}, error / sd {calibrations[name].ratio:.2f}"
        )
        print(f"{timer.seconds / draws.shape[1] / count:.1f} CPU-seconds a draw")
        for i, kind in ((0, "Shepp-Logan"), (1, "held out")):
            mean = draws[i].mean(0)
            panels = [truth[i], list(before.values())[-1][i], variation[i], mean, draws[i, 0]]
            shown.append([*panels, 5 * draws[i].std(0), 5 * (mean - truth[i]).abs()])
            labels.append(f"{name}: {kind}")
    r.save_json("phantoms", {"nfe": args.nfe, "count": count, "tasks": results})
    columns = ["truth", "FBP, zero-filled", "total variation", "posterior mean", "a draw", "5 sd", "5 |error|"]
    r.save_picture(r.gallery(shown, columns, labels, cell=1.25), "reconstruction-phantoms")
    r.draw_calibration(calibrations, "reconstruction-phantoms-calibration")
