"""Test digits of MNIST: inpainting, super-resolution, deblurring and tomography from 8 views."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from skimage.restoration import inpaint_biharmonic, wiener  # type: ignore[reportMissingImports]
from torch import Tensor
from torch.nn import functional as F

import _reconstruction as r
from _variation import total_variation, tuned_weight
from scorefield import data
from scorefield.inverse import Bridge, IsotropicCovariance, Method, SpectralBridge, calibrate_spectrum, condition
from scorefield.inverse.operators import Blur, Downsample, LinearOperator, Mask, Radon, gaussian_kernel
from scorefield.solvers import calibrate

SHAPE = (1, 28, 28)
WEIGHTS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1)
ITERATIONS = 200


class Task(NamedTuple):
    operator: LinearOperator
    noise_std: float
    classical: str
    estimate: Callable[[LinearOperator, Tensor, float], Tensor]  # (A, y, what is tuned)
    choices: tuple[float, ...]  # of what is tuned
    seen: Callable[[LinearOperator, Tensor], Tensor]  # the measurement as a picture


def hole() -> Tensor:
    """Unknown: the 14 x 14 pixels in the middle."""
    known = torch.ones(SHAPE, dtype=torch.bool)
    known[:, 7:21, 7:21] = False
    return known


def biharmonic(operator: LinearOperator, y: Tensor, _: float) -> Tensor:
    assert isinstance(operator, Mask)
    filled = [inpaint_biharmonic(image[0].numpy(), ~operator.known[0].numpy()) for image in operator.adjoint(y)]
    return torch.stack([torch.from_numpy(f)[None] for f in filled]).float()


def bicubic(operator: LinearOperator, y: Tensor, _: float) -> Tensor:
    return F.interpolate(y, size=SHAPE[1:], mode="bicubic", align_corners=False)


def wiener_filter(operator: LinearOperator, y: Tensor, balance: float) -> Tensor:
    assert isinstance(operator, Blur)
    images = [wiener(image[0].numpy(), operator.kernel.numpy(), balance, clip=False) for image in y]
    return torch.stack([torch.from_numpy(image)[None] for image in images]).float()


def back_projection(operator: LinearOperator, y: Tensor, hann: float) -> Tensor:
    assert isinstance(operator, Radon)
    return operator.fbp(y, "hann" if hann else "ramp")


def tasks() -> dict[str, Task]:
    once = (0.0,)
    return {
        "inpainting": Task(Mask(hole()), 0.02, "biharmonic", biharmonic, once, lambda a, y: a.adjoint(y)),
        "4x super-resolution": Task(
            *(Downsample(4, SHAPE), 0.02, "bicubic", bicubic, once),
            lambda a, y: y.repeat_interleave(4, -1).repeat_interleave(4, -2),
        ),
        "deblurring, std 2": Task(
            *(Blur(gaussian_kernel(2.0, 13), SHAPE, "circular"), 0.02, "Wiener", wiener_filter),
            *((1e-4, 1e-3, 1e-2, 0.1, 1.0), lambda a, y: y),
        ),
        "CT, 8 views": Task(
            *(Radon(SHAPE, 8), 0.1, "filtered back-projection", back_projection, (0.0, 1.0)),
            lambda a, y: a.adjoint(y) / a.adjoint(y).amax((1, 2, 3), keepdim=True),
        ),
    }


def study(args: argparse.Namespace) -> None:
    prior = r.prior(args.run, levels=256)
    train, test = (data.named("mnist", data_dir=args.data_dir, split=split) for split in ("train", "test"))
    count = args.count or 6
    truth, tuning = pictures(test, 0, count), pictures(train, 0, 8)
    seen = prior.to_model(pictures(train, 100, 32))
    generator = torch.Generator().manual_seed(0)
    variance = calibrate(prior.denoiser, seen, levels=16, generator=generator)
    spectrum = calibrate_spectrum(prior.denoiser, seen, generator=generator)
    methods = {
        "bridge, 16 particles": Bridge(particles=16, covariance=IsotropicCovariance(variance)),
        "spectral bridge": SpectralBridge(spectrum),
    }
    known = tasks()
    for i, (name, task) in enumerate(known.items()):
        if args.only in name:
            outcome = reconstruct(name, task, prior, methods, truth, tuning, args.nfe, shown=i % count)
            r.keep("mnist", name, outcome, nfe=args.nfe, count=count)
    done = r.kept("mnist", list(known))
    columns = ["truth", "measured", "TV", *(f"draw {i}" for i in range(1, 5)), "mean", "2 sd"]
    panels = [o.panels[0] for o in done.values()]
    r.save_picture(r.gallery(panels, columns, list(done), cell=0.8), "reconstruction-mnist")
    r.draw_calibration({k: o.calibration for k, o in done.items() if o.calibration}, "reconstruction-mnist-calibration")


def reconstruct(
    name: str,
    task: Task,
    prior: r.Prior,
    methods: dict[str, Method],
    truth: Tensor,
    tuning: Tensor,
    nfe: int,
    shown: int,
) -> r.Outcome:
    operator, std = task.operator, task.noise_std
    y, y_tuning = (r.measured(operator, x, std, seed) for x, seed in ((truth, 1), (tuning, 2)))
    errors = [float((task.estimate(operator, y_tuning, c) - tuning).square().mean()) for c in task.choices]
    classical = task.estimate(operator, y, task.choices[errors.index(min(errors))])
    weight = tuned_weight(operator, tuning, y_tuning, WEIGHTS, iterations=ITERATIONS)
    variation = total_variation(operator, y, weight, iterations=ITERATIONS)
    rows = [
        r.row(task.classical, classical, truth, operator, y, std),
        r.row(f"total variation, weight {weight:g}", variation, truth, operator, y, std),
    ]
    panels, found = [], None
    for label, method in methods.items():
        with r.Timer() as timer:
            posterior = condition(prior.denoiser, prior.likelihood(operator, y, std), method)
            draws = prior.to_picture(posterior.sample(r.DRAWS, nfe=nfe, seed=3).x)
        rows.append(r.row(label, draws.mean(1), truth, operator, y, std))
        calibrated = r.calibration(draws, truth)
        rows[-1] |= {"seconds a draw": timer.seconds / draws.shape[1] / len(truth)}
        rows[-1] |= {"coverage": calibrated.coverage, "error / sd": calibrated.ratio}
        rows.append(r.row(f"{label}, one draw", draws[:, 0], truth, operator, y, std))
        if label == "spectral bridge":  # whose draws are independent: a system of particles has few ancestors
            mine = draws[shown]
            found = calibrated
            panels = [truth[shown], task.seen(operator, y)[shown], variation[shown], *mine[:4], mine.mean(0)]
            panels.append(2 * mine.std(0))
        print(f"{name}, {label}: coverage {calibrated.coverage:.3f}, error / sd {calibrated.ratio:.2f}", flush=True)
    print(f"\n{name}, noise {std:g}, {len(truth)} digits\n{r.table(rows)}", flush=True)
    return r.Outcome(rows, [name], [panels], found)


def pictures(source: data.Source, first: int, count: int) -> Tensor:
    """Digits first .. first + count - 1, `(count, 1, 28, 28)` in [0, 1]: the middle of the grey level's bin."""
    return (source.batch(torch.arange(first, first + count)).x.float() + 0.5) / 256
