"""Photographs that a prior of 32 x 32 patches has not seen: denoising and deblurring 256 x 256 pixels of each."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import skimage.color  # type: ignore[reportMissingImports]
import skimage.data  # type: ignore[reportMissingImports]
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, richardson_lucy, wiener  # type: ignore[reportMissingImports]
from torch import Tensor

import _reconstruction as r
import scorefield as sf
from _variation import total_variation, tuned_weight
from scorefield.inverse import SpectralBridge, calibrate_spectrum, condition
from scorefield.inverse.operators import Blur, LinearOperator, Mask, gaussian_kernel

SIZE = 256
PATCH = 32
NOISY, BLURRED = 25 / 255, 2 / 255  # noise of the two tasks
DRAWS = 4
CORNERS = {"camera": (64, 128), "coffee": (80, 200)}  # held out
TUNING = {"astronaut": (0, 100), "chelsea": (20, 90)}

Filter = Callable[[np.ndarray, Any], np.ndarray]


def photographs(corners: dict[str, tuple[int, int]]) -> Tensor:
    """Grey, `(n, 1, 256, 256)` in [0, 1]."""
    pictures = []
    for name, (top, left) in corners.items():
        image = getattr(skimage.data, name)()
        grey = skimage.color.rgb2gray(image) if image.ndim == 3 else image / 255
        pictures.append(torch.from_numpy(grey[top : top + SIZE, left : left + SIZE]).float()[None])
    return torch.stack(pictures)


def each(method: Filter, y: Tensor, choice: Any) -> Tensor:
    return torch.stack([torch.from_numpy(np.ascontiguousarray(method(image[0].numpy(), choice))) for image in y])[
        :, None
    ].float()


def best(method: Filter, y: Tensor, truth: Tensor, choices: Sequence[Any]) -> Any:
    errors = [float((each(method, y, choice) - truth).square().mean()) for choice in choices]
    return choices[errors.index(min(errors))]


def filters(task: str, kernel: np.ndarray) -> dict[str, tuple[Filter, Sequence[Any]]]:
    if task == "denoising":
        return {
            "total variation": (lambda y, w: denoise_tv_chambolle(y, weight=w), (0.05, 0.08, 0.12)),
            "non-local means": (
                lambda y, h: denoise_nl_means(y, 5, 6, h=h * NOISY, sigma=NOISY, fast_mode=True),
                (0.4, 0.6, 0.8, 1.0),
            ),
        }
    return {
        "Wiener": (lambda y, b: wiener(y, kernel, b, clip=False), (1e-4, 1e-3, 1e-2, 0.1)),
        "Richardson-Lucy": (lambda y, n: richardson_lucy(y.clip(1e-3, 1), kernel, num_iter=n), (10, 20, 40)),
    }


def study(args: argparse.Namespace) -> None:
    prior = r.prior(args.run)
    truth, tuning = photographs(CORNERS)[: args.count or None], photographs(TUNING)
    known = {"denoising": denoise, "deblurring": deblur}
    for name, task in known.items():
        if args.only in name:
            r.keep("photographs", name, task(prior, truth, tuning, args.nfe), nfe=args.nfe, count=len(truth))
    done = r.kept("photographs", list(known))
    columns = ["truth", "measured", "non-local means; Wiener", "total variation", "with the prior"]
    panels = [o.panels[0] for o in done.values()]
    r.save_picture(r.gallery(panels, columns, list(done), cell=1.5), "reconstruction-photographs", dpi=90)


def denoise(prior: r.Prior, truth: Tensor, tuning: Tensor, nfe: int) -> r.Outcome:
    """For EDM's process y is x_t at the time whose sigma is the noise: the posterior mean is one evaluation."""
    net, shape = prior.denoiser, tuple(truth.shape[1:])
    operator = Mask(torch.ones(shape, dtype=torch.bool))
    y, y_tuning = (r.measured(operator, x, NOISY, seed) for x, seed in ((truth, 1), (tuning, 2)))
    rows, estimates = baselines("denoising", operator, NOISY, truth, tuning, y, y_tuning)
    noisy = prior.to_model(y.reshape(truth.shape))
    t = net.schedule.time_of_log_snr(torch.tensor(-math.log(NOISY / prior.scale), dtype=torch.float64))
    ways: dict[str, sf.Denoiser] = {
        "the network on the whole": net,
        **{f"patches, stride {n}": sf.PatchDenoiser(net, PATCH, n, chunk=64) for n in (32, 16, 8)},
    }
    for label, denoiser in ways.items():
        with r.Timer() as timer, torch.no_grad():
            estimates[label] = prior.to_picture(denoiser(noisy, t))
        rows.append(r.row(label, estimates[label], truth, operator, y, NOISY))
        rows[-1] |= {"seconds": timer.seconds / len(truth)}
        print(f"{label}: {timer.seconds / len(truth):.1f} CPU-seconds a picture", flush=True)
    print(f"\ndenoising, noise 25/255\n{r.table(rows)}", flush=True)
    chosen = [estimates[c][0] for c in ("non-local means", "total variation", "patches, stride 8")]
    return r.Outcome(rows, ["denoising"], [[truth[0], y[0].reshape(shape), *chosen]])


def deblur(prior: r.Prior, truth: Tensor, tuning: Tensor, nfe: int) -> r.Outcome:
    net = prior.denoiser
    operator = Blur(gaussian_kernel(1.6, 13), tuple(truth.shape[1:]), "reflect")
    y, y_tuning = (r.measured(operator, x, BLURRED, seed) for x, seed in ((truth, 3), (tuning, 4)))
    rows, estimates = baselines("deblurring", operator, BLURRED, truth, tuning, y, y_tuning)
    likelihood = prior.likelihood(operator, y, BLURRED)
    ways = {"the network on the whole": (net, DRAWS), "patches, stride 16": (sf.PatchDenoiser(net, PATCH, 16), 1)}
    for label, (denoiser, count) in ways.items():  # patches cost four times as much
        generator = torch.Generator().manual_seed(0)
        spectrum = calibrate_spectrum(denoiser, prior.to_model(tuning[:1]), levels=8, generator=generator)
        with r.Timer() as timer:
            posterior = condition(denoiser, likelihood, SpectralBridge(spectrum, tolerance=1e-2))
            draws = prior.to_picture(posterior.sample(count, nfe=nfe, seed=5, chunk=count).x)
        estimates[label] = draws.mean(1)
        rows.append(r.row(f"{label}, mean of {count}", draws.mean(1), truth, operator, y, BLURRED))
        rows[-1] |= {"seconds a draw": timer.seconds / len(truth) / count}
        if count > 1:
            rows.append(r.row(f"{label}, one draw", draws[:, 0], truth, operator, y, BLURRED))
        print(f"{label}: {rows[-1]}", flush=True)
    print(f"\ndeblurring, std 1.6, noise 2/255\n{r.table(rows)}", flush=True)
    chosen = [estimates[c][0] for c in ("Wiener", "total variation", "the network on the whole")]
    return r.Outcome(rows, ["deblurring"], [[truth[0], y[0], *chosen]])


def baselines(
    task: str, operator: LinearOperator, std: float, truth: Tensor, tuning: Tensor, y: Tensor, y_tuning: Tensor
) -> tuple[list[dict], dict[str, Tensor]]:
    rows, estimates = [r.row("as measured", y.reshape(truth.shape), truth, operator, y, std)], {}
    kernel = operator.kernel.numpy() if isinstance(operator, Blur) else np.ones((1, 1))
    for label, (method, choices) in filters(task, kernel).items():
        choice = best(method, y_tuning.reshape(tuning.shape), tuning, choices)
        estimates[label] = each(method, y.reshape(truth.shape), choice)
        rows.append(r.row(f"{label}, {choice:g}", estimates[label], truth, operator, y, std))
    if task == "deblurring":
        weight = tuned_weight(operator, tuning, y_tuning, (1e-4, 3e-4, 1e-3), iterations=100)
        estimates["total variation"] = total_variation(operator, y, weight, iterations=100)
        rows.append(r.row(f"total variation, {weight:g}", estimates["total variation"], truth, operator, y, std))
    return rows, estimates
