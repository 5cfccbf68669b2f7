"""Ready-made experiments: a denoiser, its data, and how to train it.

preset = presets.digits()
result = fit(preset.denoiser, **preset.fit)
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch

from scorefield import data, losses, networks
from scorefield.denoisers import NetworkDenoiser
from scorefield.parameterizations import EDMPreconditioning
from scorefield.schedules import EDM


class Preset(NamedTuple):
    """An experiment, ready to run."""

    denoiser: NetworkDenoiser  # untrained
    fit: dict[str, Any]  # keyword arguments of `fit`, the data among them
    transform: data.Scale
    data: data.Split


def digits(*, seed: int = 0) -> Preset:
    """Class-conditional 8x8 digits, trained on half of scikit-learn's 1,797."""
    split = data.digits()
    transform = data.Scale.to_standard(split.train, levels=data.LEVELS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = networks.UNet(1, width=64, num_classes=10, patch=2)
    schedule = EDM(sigma_max=40.0)
    times = losses.Stratified(losses.LogNormal(schedule, mean=-0.5, std=1.2))
    options = {
        "data": split.train,
        "labels": split.train_labels,
        "steps": 1000,
        "batch_size": 64,
        "lr": 2e-3,
        "warmup": 50,
        "ema_decay": 0.998,
        "augment": transform.dequantize,
        "loss": functools.partial(losses.denoising, times=times),
        "seed": seed,
    }
    return Preset(NetworkDenoiser(net, schedule, EDMPreconditioning()), options, transform, split)
