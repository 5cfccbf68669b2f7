"""Grey 32 x 32 patches of photographs as a file to train on: `patches.npz`. Needs scikit-image.

    python examples/make_patches.py
    scorefield train --config examples/patches.toml

The pictures come with scikit-image and scikit-learn. Each gives as many patches, at random places, three quarters of
them at full size and the others from the picture at half size. `camera` and `coffee` are kept for tests. Values in
[0, 1] are stored as round(255 value), so that a model of them has the raw units y = 255 value + 1/2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.color  # type: ignore[reportMissingImports]
import skimage.data  # type: ignore[reportMissingImports]
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

TRAINED = (
    *("astronaut", "brick", "chelsea", "clock", "coins", "gravel", "rocket", "stereo_motorcycle"),  # scikit-image
    *("china", "flower"),  # scikit-learn
)
HELD_OUT = ("camera", "coffee")
AT_HALF = 0.25


def photograph(name: str) -> NDArray[np.float64]:
    """The picture of that name, grey, `(H, W)` in [0, 1]."""
    if name in ("china", "flower"):
        image = load_sample_image(f"{name}.jpg")
    else:
        image = getattr(skimage.data, name)()
        image = image[0] if isinstance(image, tuple) else image  # the left one of a stereo pair
    return skimage.color.rgb2gray(image) if image.ndim == 3 else image / 255


def patches(names: tuple[str, ...], count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """`(count, 1, size, size)`, in random order."""
    generator = np.random.default_rng(seed)
    scales = {name: _scales(photograph(name)) for name in names}
    x = np.empty((count, 1, size, size), np.uint8)
    for i in generator.permutation(count):
        image = scales[names[i % len(names)]][int(generator.random() < AT_HALF)]
        top, left = (int(generator.integers(n - size + 1)) for n in image.shape)
        x[i, 0] = np.rint(255 * image[top : top + size, left : left + size])
    return x


def _scales(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The picture and its 2 x 2 averages."""
    h, w = (n // 2 * 2 for n in image.shape)
    return image, image[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for file, names, count, seed in (
        ("patches", TRAINED, args.count, 0),
        ("patches-test", HELD_OUT, args.held_out, 1),
    ):
        path = args.out / f"{file}.npz"
        np.savez_compressed(path, x=patches(names, count, args.size, seed))
        print(f"{path}: {count} patches of {args.size} x {args.size} from {', '.join(names)}")


if __name__ == "__main__":
    main()
