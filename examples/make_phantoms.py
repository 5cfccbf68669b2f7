"""Random-ellipse phantoms as a file to train on: `phantoms.npz`, and `phantoms-test.npz`, of another seed.

    python examples/make_phantoms.py
    scorefield train --config examples/phantoms.toml

Values in [0, 1] are stored as round(255 value), so that a model of them has the raw units y = 255 value + 1/2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from scorefield.data import phantoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("phantoms", args.count, 0), ("phantoms-test", args.held_out, 1)):
        values = phantoms.ellipses(count, args.size, seed)
        path = args.out / f"{name}.npz"
        np.savez_compressed(path, x=(values * 255).round().byte().numpy())
        print(f"{path}: {count} phantoms of {args.size} x {args.size}")


if __name__ == "__main__":
    main()
