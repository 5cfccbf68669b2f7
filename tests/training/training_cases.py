"""A small problem to train on, and the whole of what a run left behind."""

import json
from pathlib import Path

import torch

import scorefield as sf
from scorefield import networks, training
from scorefield.storage import checkpoints


def denoiser(dropout: float = 0.0, classes: int | None = None, seed: int = 0) -> sf.NetworkDenoiser:
    torch.manual_seed(seed)
    net = networks.MLP(2, 16, 2, dropout=dropout, num_classes=classes)
    return sf.NetworkDenoiser(net, sf.EDM(), sf.EDMPreconditioning())


def data(n: int = 50) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(7))


def fit(folder: Path, **arguments):
    """20 steps in `folder`, a checkpoint every 10; going on where one is there."""
    run_options = {name: arguments.pop(name) for name in ("checkpoint_every", "keep", "loggers") if name in arguments}
    folder.mkdir(exist_ok=True)
    run = training.Run(folder, **{"checkpoint_every": 10, "warn": lambda line: None, **run_options})
    arguments = {"steps": 20, "batch_size": 12, "warmup": 3, "lr": 1e-2, **arguments}
    model = arguments.pop("model") if "model" in arguments else denoiser()
    with run.opened():
        return training.fit(model, arguments.pop("data", data()), run=run, **arguments)


def left(folder: Path, step: int) -> dict[str, bytes]:
    """Every file of the checkpoint of `step`: the same bytes are the same weights, averages, optimiser and state."""
    path = folder / "checkpoints" / f"step-{step:06d}"
    checkpoints.verify(path)
    return {file.name: file.read_bytes() for file in path.iterdir()}


def rows(folder: Path, *without: str) -> list[dict]:
    """The lines of metrics.jsonl, less the columns `without`."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: v for name, v in json.loads(line).items() if name not in without} for line in lines]
