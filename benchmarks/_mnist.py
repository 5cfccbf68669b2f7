"""MNIST from its idx files, and a feature space for the Fréchet distance: a small classifier's 64 penultimate features.

The distance is taken between the features of generated images, rounded to grey levels, and of the 10,000 test images.
"""

from __future__ import annotations

import functools
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.metrics import frechet_distance

FOLDERS = (Path(__file__).parents[2] / "shared/data/mnist", Path(__file__).parents[1] / "data/mnist")
OUT = Path(__file__).parent / "out"


def load(split: str) -> tuple[Tensor, Tensor]:
    """Images `(N, 1, 28, 28)` uint8 and labels `(N,)` int64 of 'train' or 't10k'.

    They are looked for in $MNIST, in ../shared/data/mnist and in data/mnist.
    """
    images, labels = (_idx(f"{split}-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    return images[:, None], labels.to(torch.int64)


def _idx(name: str) -> Tensor:
    folders = [Path(os.environ["MNIST"])] if "MNIST" in os.environ else list(FOLDERS)
    path = next((f / name for f in folders if (f / name).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{name} is in none of {', '.join(map(str, folders))}; set MNIST to its folder")
    raw = gzip.decompress(path.read_bytes())
    zeros, kind, rank = struct.unpack(">HBB", raw[:4])
    if (zeros, kind) != (0, 8):
        raise ValueError(f"{path} is not an idx file of bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy())


class Classifier(nn.Module):
    """Two 3x3 convolutions with 2x2 maxima, then 64 features and 10 logits; images `(B, 1, 28, 28)` uint8."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        self.features = nn.Sequential(nn.Dropout(0.25), nn.Linear(64 * 49, 64), nn.ReLU())
        self.logits = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(self.body(images.float() / 255))
        return features, self.logits(features)


def train_classifier(seed: int = 0, epochs: int = 5, batch_size: int = 128) -> Classifier:
    """AdamW, the learning rate up and down once, shifts of at most one pixel; the same weights for the same seed."""
    images, labels = load("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Classifier()
        steps = epochs * (len(images) // batch_size)
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05, fused=True)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(batch_size)[: len(images) // batch_size]:
                dy, dx = (int(d) for d in torch.randint(-1, 2, (2,)))
                batch = images[rows].roll((dy, dx), (2, 3))  # the margins are empty: nothing comes round
                loss = F.cross_entropy(net(batch)[1], labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
    return net.eval()


@functools.cache
def classifier() -> Classifier:
    """The trained classifier, from benchmarks/out/ where it is there."""
    path = OUT / "mnist-classifier.safetensors"
    if path.exists():
        net = Classifier()
        net.load_state_dict(safetensors.torch.load_file(path))
        return net.eval()
    net = train_classifier()
    OUT.mkdir(exist_ok=True)
    safetensors.torch.save_file(net.state_dict(), path)
    return net


@torch.no_grad()
def features(images: Tensor) -> Tensor:
    """`(N, 64)`, of images `(N, 1, 28, 28)` uint8."""
    return torch.cat([classifier()(part)[0] for part in images.split(500)])


@torch.no_grad()
def predictions(images: Tensor) -> Tensor:
    """The classifier's classes, `(N,)`."""
    return torch.cat([classifier()(part)[1].argmax(1) for part in images.split(500)])


@functools.cache
def _reference() -> Tensor:
    return features(load("t10k")[0])


def frechet(images: Tensor) -> float:
    """Fréchet distance of `images` `(N, 1, 28, 28)` uint8 to the 10,000 test images, on the classifier's features."""
    return float(frechet_distance(features(images).double(), _reference().double()))
