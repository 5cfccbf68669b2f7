"""Photographs that a prior of 32 x 32 patches has not seen: denoising and deblurring 256 x 256 pixels of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import skimage.color
import skimage.data
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, richardson_lucy, wiener
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
    net = prior.denoiser
    truth, tuning = photographs(CORNERS)[: args.count or None], photographs(TUNING)
    whole: dict[str, sf.Denoiser] = {
        "patches, stride 16": sf.PatchDenoiser(net, PATCH, 16, chunk=64),
        "patches, stride 8": sf.PatchDenoiser(net, PATCH, 8, chunk=64),
        "the network on the whole": net,
    }
    shape = tuple(truth.shape[1:])
    results, shown = {}, []

    operator: LinearOperator = Mask(torch.ones(shape, dtype=torch.bool))
    y, y_tuning = (r.measured(operator, x, NOISY, seed) for x, seed in ((truth, 1), (tuning, 2)))
    rows, estimates = baselines("denoising", operator, NOISY, truth, tuning, y, y_tuning)
    # for EDM's process y is x_t at sigma = the noise: the posterior mean is one evaluation
    noisy = prior.to_model(y.reshape(truth.shape))
    t = net.schedule.time_of_log_snr(torch.tensor(-np.log(NOISY / prior.scale), dtype=torch.float64))
    for label, denoiser in whole.items():
        with r.Timer() as timer, torch.no_grad():
            estimate = prior.to_picture(denoiser(noisy, t))
        rows.append(r.row(label, estimate, truth, operator, y, NOISY) | {"seconds": timer.seconds / len(truth)})
        estimates[label] = estimate
        print(f"{label}: {timer.seconds / len(truth):.1f} CPU-seconds a picture", flush=True)
    results["denoising"] = rows
    print(f"\ndenoising, noise 25/255\n{r.table(rows)}", flush=True)
    chosen = ["total variation", "non-local means", "patches, stride 8"]
    shown.append([truth[0], y[0].reshape(shape), *(estimates[c][0] for c in chosen)])

    kernel = gaussian_kernel(1.6, 13)
    operator = Blur(kernel, shape, "reflect")
    y, y_tuning = (r.measured(operator, x, BLURRED, seed) for x, seed in ((truth, 3), (tuning, 4)))
    rows, estimates = baselines("deblurring", operator, BLURRED, truth, tuning, y, y_tuning)
    likelihood = prior.likelihood(operator, y, BLURRED)
    for label in ("the network on the whole", "patches, stride 16"):
        denoiser = whole[label]
        spectrum = calibrate_spectrum(
            denoiser, prior.to_model(tuning[:1]), levels=8, generator=torch.Generator().manual_seed(0)
        )
        count = DRAWS if label.startswith("the") else 1  # patches cost five times as much
        with r.Timer() as timer:
            got = condition(denoiser, likelihood, SpectralBridge(spectrum, tolerance=1e-2)).sample(
                count, nfe=args.nfe, seed=5, chunk=count
            )
        draws = prior.to_picture(got.x)
        spent = {"seconds": timer.seconds / len(truth) / count}
        name = f"{label}, mean of {count} draws" if count > 1 else f"{label}, one draw"
        rows.append(r.row(name, draws.mean(1), truth, operator, y, BLURRED) | spent)
        if count > 1:
            rows.append(r.row(f"{label}, one draw", draws[:, 0], truth, operator, y, BLURRED))
        estimates[label] = draws.mean(1)
        print(f"{label}: {spent['seconds']:.1f} CPU-seconds a draw", flush=True)
    results["deblurring"] = rows
    print(f"\ndeblurring, std 1.6, noise 2/255\n{r.table(rows)}", flush=True)
    chosen = ["Wiener", "total variation", "the network on the whole"]
    shown.append([truth[0], y[0], *(estimates[c][0] for c in chosen)])
    r.save_json("photographs", {"nfe": args.nfe, "tasks": results})
    columns = ["truth", "measured", "TV; Wiener", "non-local means; TV", "with the prior"]
    r.save_picture(r.gallery(shown, columns, list(results), cell=1.5), "reconstruction-photographs", dpi=90)


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
        weight = tuned_weight(operator, tuning, y_tuning, (3e-5, 1e-4, 3e-4, 1e-3), iterations=150)
        estimates["total variation"] = total_variation(operator, y, weight, iterations=150)
        rows.append(r.row(f"total variation, {weight:g}", estimates["total variation"], truth, operator, y, std))
    return rows, estimates
