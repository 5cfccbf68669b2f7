"""Colour photographs in half an hour of one core: `--preset photos` beside denoising-diffusion-pytorch.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py --cpu-seconds 1800

64 x 64 crops of the colour photographs that scikit-image and scikit-learn ship (they must be installed, and for the
peer denoising-diffusion-pytorch), at full and at half size; the right fifth of each picture is held out. The peer's
network has about as many weights, and its rate and averaging are those of `mnist.py`, for short runs. Both draw 256
samples in 40 evaluations. Frechet distance of the 48 first principal components of the training crops; its floor is
that of as many training crops. Writes `photographs.png`: held-out crops, and the samples of each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import scorefield as sf
from _mnist import OUT
from _mnist_recipes import constant, ddpm_pytorch
from scorefield import metrics

SIZE, STRIDE, SAMPLES, COMPONENTS, NFE = 64, 24, 256, 48, 40
PICTURES = {
    "skimage/data": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}


def crops() -> tuple[Tensor, Tensor]:
    """To train on and held out, `(N, 3, 64, 64)` uint8."""
    kept: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for folder, names in PICTURES.items():
        package, *rest = folder.split("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed: its pictures are the data")
        for name in names:
            whole = Image.open(Path(spec.origin).parent.joinpath(*rest, name)).convert("RGB")
            for scale in (1, 2):
                image = whole.resize((whole.width // scale, whole.height // scale), Image.Resampling.LANCZOS)
                pixels = np.asarray(image)
                edge = round(0.8 * image.width)
                for top in range(0, image.height - SIZE + 1, STRIDE):
                    for left in range(0, image.width - SIZE + 1, STRIDE):
                        if left + SIZE <= edge or left >= edge:
                            kept[left >= edge].append(pixels[top : top + SIZE, left : left + SIZE])
    train, test = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2).contiguous() for part in kept)
    return train, test


def ours(train: Tensor, seconds: float, folder: Path) -> Tensor:
    """The preset as it is, but for as many of its steps as the time allows, by the first thirty."""
    (folder / "crops").mkdir(exist_ok=True)
    for i, crop in enumerate(train):
        Image.fromarray(crop.permute(1, 2, 0).numpy()).save(folder / "crops" / f"{i:04}.png")
    recipe = sf.recipes.override(sf.recipes.presets.photos(str(folder / "crops")), ["data.held_out=0"])
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as tried:
        sf.runs.train(tried, sf.recipes.override(recipe, ["training.steps=40"]))
    each = (time.process_time() - begun) / 40
    steps = min(recipe.training.steps, int(seconds / each))
    print(f"ours: {each:.3f} CPU-seconds a step, {steps} steps", flush=True)
    run = sf.runs.train(folder / "ours", sf.recipes.override(recipe, [f"training.steps={steps}"]))
    assert run is not None
    print(f"ours: {sum(p.numel() for p in run.model.parameters()):,} weights", flush=True)
    return run.sample(SAMPLES, nfe=NFE).raw


def peer(train: Tensor, seconds: float, folder: Path) -> Tensor:
    method = ddpm_pytorch(SIZE, 3, 32)
    print(f"peer: {sum(p.numel() for p in method.network.parameters()):,} weights", flush=True)
    generator, steps, begun = torch.Generator().manual_seed(0), 0, time.process_time()
    while time.process_time() - begun < seconds:
        rows = torch.randint(len(train), (32,), generator=generator)
        batch = train[rows]
        batch = torch.where(torch.rand(32, 1, 1, 1, generator=generator) < 0.5, batch, batch.flip(-1))
        loss = method.loss(batch, rows, generator)
        for optimizer in method.optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.network.parameters(), 1.0)
        for optimizer in method.optimizers:
            optimizer.step()
        method.after_step()
        steps += 1
        if steps % 100 == 0:
            print(f"peer: step {steps}, loss {float(loss):.4f}", flush=True)
    print(f"peer: {(time.process_time() - begun) / steps:.3f} CPU-seconds a step, {steps} steps", flush=True)
    assert method.rate is constant
    return method.sample(SAMPLES, 0.0)


def grid(x: Tensor, columns: int = 8, rows: int = 4) -> np.ndarray:
    x = x[: rows * columns].byte().unflatten(0, (rows, columns))
    return x.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-seconds", type=float, default=1800.0)
    parser.add_argument("--methods", nargs="+", choices=("ours", "peer"), default=("ours", "peer"))
    parser.add_argument("--out", type=Path, default=OUT / "photographs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = crops()
    print(f"{len(train)} crops to train on, {len(test)} held out", flush=True)
    for name in args.methods:
        if not (args.out / f"{name}.npy").exists():
            x = {"ours": ours, "peer": peer}[name](train, args.cpu_seconds, args.out)
            np.save(args.out / f"{name}.npy", x.byte().numpy())
    found = {n: torch.from_numpy(np.load(p)) for n in ("ours", "peer") if (p := args.out / f"{n}.npy").exists()}
    mean = train.flatten(1).float().mean(0)
    axes = torch.linalg.svd(train.flatten(1).float() - mean, full_matrices=False).Vh[:COMPONENTS]

    def features(x: Tensor) -> Tensor:
        return (x.flatten(1).float() - mean) @ axes.T / 255

    pick = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    table = {}
    for name, x in {"training crops": train[pick], **found}.items():
        table[name] = {"Frechet": float(metrics.frechet(features(test), features(x)).value)}
        near = torch.cdist(x.flatten(1).float() / 255, train.flatten(1).float() / 255)
        near[near == 0] = torch.inf  # itself
        table[name] |= {
            "to the nearest training crop": float(near.min(1).values.median()),
            "contrast": float(x.float().std((1, 2, 3)).mean() / test.float().std((1, 2, 3)).mean()),
        }
        print(name, {k: round(v, 3) for k, v in table[name].items()}, flush=True)
    (args.out / "photographs.json").write_text(json.dumps(table, indent=1))
    pictures = [grid(test[torch.randperm(len(test), generator=torch.Generator().manual_seed(1))])]
    gap = np.full((12, pictures[0].shape[1], 3), 255, np.uint8)
    for x in found.values():
        pictures += [gap, grid(x)]
    Image.fromarray(np.concatenate(pictures)).save(args.out / "photographs.png")


if __name__ == "__main__":
    main()
