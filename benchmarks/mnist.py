"""Time to quality on MNIST: the Fréchet distance after equal CPU time, ours beside two peers' recipes.

    pip install diffusers==0.42.1 denoising-diffusion-pytorch==2.3.4
    OMP_NUM_THREADS=1 python benchmarks/mnist.py --cpu-seconds 1000

Each method trains alone on one thread until the budget, in CPU-seconds of the process, is spent; sampling and scoring
are outside it. The distance is taken on a small classifier's features (`_mnist.py`) between the generated images and
the 10,000 test images, without guidance, for DDIM's deterministic (eta = 0) and stochastic (eta = 1) steps; 'agreement'
is the share of images the classifier gives the class they were asked to have. The first row is the floor: as many
training images. 1,000 CPU-seconds of one thread are about 10 minutes of two idle cores. Where a peer imports
torchvision for a data loader that is not used here, an empty module stands in.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_model
from torch import Tensor, nn

from _mnist import OUT, frechet, load, predictions
from _mnist_recipes import METHODS, Method
from scorefield.plots.images import tile, to_pixels


def train(method: Method, budget: float, seed: int, log: Callable[[str], None]) -> dict[str, float]:
    """Trains for `budget` CPU-seconds of this process."""
    images, labels = load("train")
    peaks = [[group["lr"] for group in o.param_groups] for o in method.optimizers]
    generator = torch.Generator().manual_seed(seed)
    method.network.train()
    step, mean, start, told = 0, 0.0, time.process_time(), 0.0
    while (spent := time.process_time() - start) < budget:
        factor = method.rate(spent / budget)
        for optimizer, rates in zip(method.optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = peak * factor
        rows = torch.randint(len(images), (method.batch_size,), generator=generator)
        loss = method.loss(images[rows], labels[rows], generator)
        for optimizer in method.optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(method.network.parameters(), 1.0)
        for optimizer in method.optimizers:
            optimizer.step()
        method.after_step()
        step += 1
        mean += (float(loss.detach()) - mean) / min(step, 100)
        if spent - told > 60:
            told = spent
            log(f"  {spent:5.0f} CPU-s  {step * method.batch_size:8d} images  loss {mean:.4f}")
    method.network.eval()
    return {"cpu_seconds": spent, "steps": step, "images": step * method.batch_size, "loss": mean}


def picture(images: Tensor, path: Path) -> None:
    Image.fromarray(tile(to_pixels(images.numpy() / 255), 20, scale=2)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu-seconds", type=float, default=1000.0, help="of one thread, for each method")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
    parser.add_argument("--images", type=int, default=2000, help="generated, of each method")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.methods.split(",")
    if unknown := set(names) - set(METHODS):
        parser.error(f"methods must be among {', '.join(METHODS)}; got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    train_images, _ = load("train")
    chosen = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(options.seed))[: options.images]
    floor = frechet(train_images[chosen])
    print(
        f"{'method':14s} {'CPU-s':>6s} {'images':>8s} {'Mparams':>8s} {'eta = 0':>8s} {'eta = 1':>8s} {'agreement':>9s}"
    )
    print(f"{'training set':14s} {'':6s} {'':8s} {'':8s} {floor:8.2f}", flush=True)
    for name in names:
        torch.manual_seed(options.seed)
        method = METHODS[name]()
        row = train(method, options.cpu_seconds, options.seed, lambda text: print(text, flush=True))
        samples = {eta: method.sample(options.images, eta) for eta in (0.0, 1.0)}
        scores = {eta: frechet(x) for eta, x in samples.items()}
        best = min(scores, key=scores.__getitem__)
        row |= {"samples": options.images, "seed": options.seed, "floor": floor}
        row |= {"parameters": sum(p.numel() for p in method.network.parameters())}
        row |= {"frechet": scores[best], "eta": best, "frechet_eta_0": scores[0.0], "frechet_eta_1": scores[1.0]}
        if method.conditional:
            asked = torch.arange(options.images) % 10
            row["class_agreement"] = float((predictions(samples[best]) == asked).double().mean())
        print(
            f"{name:14s} {row['cpu_seconds']:6.0f} {row['images']:8d} {row['parameters'] / 1e6:8.2f}"
            f" {scores[0.0]:8.2f} {scores[1.0]:8.2f} {row.get('class_agreement', float('nan')):9.3f}",
            flush=True,
        )
        stem = OUT / f"mnist-{name}-{options.cpu_seconds:.0f}"
        picture(samples[best][:100], stem.with_suffix(".png"))
        stem.with_suffix(".json").write_text(json.dumps(row, indent=1))
        save_model(method.network, str(stem.with_suffix(".safetensors")))


if __name__ == "__main__":
    main()
