"""MNIST and Fashion-MNIST: found on this machine, recognised by their content.

Each is four idx files. A file is the published one if the SHA-256 of what it decompresses to is; how it was compressed
differs between mirrors and Debian.

References:
    LeCun, Cortes & Burges, The MNIST database of handwritten digits.
    Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from scorefield.data.idx import parse_idx
from scorefield.data.opening import unzipped
from scorefield.data.sources import Arrays

Part = Literal["train", "test"]
ENVIRONMENT = "SCOREFIELD_DATA"


class Published(NamedTuple):
    """A data set as its authors published it."""

    sums: dict[str, str]  # SHA-256 of the decompressed idx files
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]  # base addresses, tried in order
    debian: tuple[str, str] | None = None  # the folder, and the package that fills it


#: Bytes of the decompressed files, of either set.
SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}

SETS: dict[str, Published] = {
    "mnist": Published(
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        tuple("0123456789"),
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
    ),
    "fashion": Published(
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        ("/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist"),
    ),
}

_PREFIX: dict[str, str] = {"train": "train", "test": "t10k"}


def named(name: str, *, data_dir: str | os.PathLike[str] | None = None, split: Part = "train") -> Arrays:
    """28 x 28 grey images, (N, 1, 28, 28) uint8 with 10 classes: 60,000 to train, 10,000 to test.

    The idx files, .gz or not, are looked for in `data_dir`, the folder named by SCOREFIELD_DATA, the user's cache and
    Debian's folder; in each first in a subfolder `name`. A file that is not the published one is passed over.

    Args:
        name: "mnist" or "fashion".

    Raises:
        ValueError: for another name or split.
        FileNotFoundError: in one line, what to put where, how to fetch it, and any file that was passed over.
    """
    known = published(name)
    if split not in _PREFIX:
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    files = [file for file in known.sums if file.startswith(_PREFIX[split])]
    images, labels = (_found(name, file, data_dir) for file in files)
    return Arrays(
        torch.from_numpy(parse_idx(*images))[:, None],
        torch.from_numpy(parse_idx(*labels)),
        class_names=known.class_names,
    )


def published(name: str) -> Published:
    """What is known of a named set.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}; got {name!r}")
    return SETS[name]


def home(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where a named set is put when it is fetched: below `data_dir`, SCOREFIELD_DATA or the user's cache."""
    return Path(data_dir or os.environ.get(ENVIRONMENT) or _cache()) / name


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scorefield"


def is_published(name: str, file: str, content: bytes) -> bool:
    """Whether `content`, decompressed, is the published idx file."""
    return hashlib.sha256(content).hexdigest() == published(name).sums[file]


def _found(name: str, file: str, data_dir: str | os.PathLike[str] | None) -> tuple[bytes, Path]:
    passed_over = []
    for path in _places(name, file, data_dir):
        try:
            content = unzipped(path)
        except ValueError as error:
            passed_over.append(str(error))
            continue
        if is_published(name, file, content):
            return content, path
        passed_over.append(f"{path}: its SHA-256 is not that of {name}")
    debian = published(name).debian
    apt = f", or install Debian's package {debian[1]}" if debian else ""
    needed = " and ".join(f"{other}.gz" for other in published(name).sums if other[:5] == file[:5])
    also = f" (passed over: {'; '.join(passed_over)})" if passed_over else ""
    command = f"scorefield data fetch {name}{'' if data_dir is None else f' --data-dir {data_dir}'}"
    raise FileNotFoundError(
        f"{name} is not here: put {needed} into {home(name, data_dir)}, or run '{command}'{apt}{also}"
    )


def _places(name: str, file: str, data_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Existing files of the right name, in order of preference."""
    homes = [*([] if data_dir is None else [Path(data_dir) / name]), home(name), _cache() / name]
    if debian := published(name).debian:
        homes.append(Path(debian[0]))
    seen = set()
    for folder in homes:
        for path in (where / f"{file}{end}" for where in (folder, folder.parent) for end in ("", ".gz")):
            if path not in seen and path.is_file():
                seen.add(path)
                yield path
