"""Named sets: found where they may lie, known by their content, and asked for in one line where they are not."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from scorefield import data
from scorefield.data import published
from scorefield.data.idx import unzipped


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("place", ["argument", "argument itself", "environment", "cache"])
def test_it_is_found_in_every_place(tiny, tmp_path, monkeypatch, place):
    folder = {"cache": tmp_path / "cache" / "scorefield" / "mnist", "argument itself": tmp_path / "sets"}
    put(folder.get(place, tmp_path / "sets" / "mnist"), tiny.files)
    if place == "environment":
        monkeypatch.setenv("SCOREFIELD_DATA", str(tmp_path / "sets"))
    elif place == "cache":
        monkeypatch.setenv("SCOREFIELD_DATA", str(tmp_path / "nothing here"))
    data_dir = tmp_path / "sets" if place.startswith("argument") else None
    halves: list[tuple[published.Part, str]] = [("train", "train"), ("test", "t10k")]
    for split, prefix in halves:
        source = data.named("mnist", data_dir=data_dir, split=split)
        assert (source.event_shape, source.levels, source.num_classes) == ((1, 28, 28), 256, 10)
        batch = source.batch(torch.arange(len(source)))
        np.testing.assert_array_equal(batch.x[:, 0].numpy(), tiny.arrays[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(batch.cond["label"].numpy(), tiny.arrays[f"{prefix}-labels-idx1-ubyte"])


def test_debians_folder_is_looked_in_last(tiny, tmp_path, monkeypatch):
    known = published.SETS["mnist"]._replace(debian=(str(tmp_path / "debian"), "a-package"))
    monkeypatch.setitem(published.SETS, "mnist", known)
    put(tmp_path / "debian", tiny.files)
    assert len(data.named("mnist")) == 60


@pytest.mark.parametrize("pack", [lambda c: c, lambda c: gzip.compress(c, 1), lambda c: gzip.compress(c, 9, mtime=7)])
def test_the_content_counts_not_its_compression(tiny, tmp_path, pack):
    plain = {name.removesuffix(".gz"): gzip.decompress(content) for name, content in tiny.files.items()}
    ending = "" if pack(b"") == b"" else ".gz"
    put(tmp_path / "mnist", {name + ending: pack(content) for name, content in plain.items()})
    assert len(data.named("mnist", data_dir=tmp_path)) == 60


def test_another_sets_files_are_passed_over(tiny, tmp_path):
    """Fashion-MNIST's have the names of MNIST's."""
    put(tmp_path / "sets" / "mnist", {name: gzip.compress(b"others") for name in tiny.files})
    with pytest.raises(FileNotFoundError, match="its SHA-256 is not that of mnist"):
        data.named("mnist", data_dir=tmp_path / "sets")
    put(tmp_path / "cache" / "scorefield" / "mnist", tiny.files)
    assert len(data.named("mnist", data_dir=tmp_path / "sets")) == 60


def test_a_damaged_file_is_named(tiny, tmp_path):
    put(tmp_path / "mnist", {**tiny.files, "train-images-idx3-ubyte.gz": tiny.files["train-images-idx3-ubyte.gz"][:-9]})
    with pytest.raises(FileNotFoundError, match=r"passed over: .*train-images-idx3-ubyte\.gz: damaged gzip data"):
        data.named("mnist", data_dir=tmp_path)


def test_when_absent_one_line_says_what_to_put_where(tiny, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.named("mnist")
    assert str(caught.value) == (
        "mnist is not here: put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz into "
        f"{tmp_path}/cache/scorefield/mnist, or run 'scorefield data fetch mnist'"
    )
    with pytest.raises(
        FileNotFoundError, match=r"put t10k-images.* and t10k-labels.* run 'scorefield .* --data-dir x'"
    ):
        data.named("mnist", data_dir="x", split="test")


def test_debians_package_is_named(tmp_path, monkeypatch):
    known = published.SETS["fashion"]._replace(debian=(str(tmp_path / "debian"), "dataset-fashion-mnist"))
    monkeypatch.setitem(published.SETS, "fashion", known)
    monkeypatch.setenv("SCOREFIELD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"fetch fashion', or install Debian's package dataset-fashion-mnist$"):
        data.named("fashion")


def test_unknown_names_and_splits():
    with pytest.raises(ValueError, match="name must be one of mnist, fashion; got 'cifar'"):
        data.named("cifar")
    with pytest.raises(ValueError, match="split must be 'train' or 'test'; got 'valid'"):
        data.named("mnist", split="valid")  # type: ignore[arg-type]


REAL = Path(os.environ.get("SCOREFIELD_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_the_real_sets_have_their_published_sizes_and_classes(name):
    try:
        train, test = (data.named(name, data_dir=REAL, split=split) for split in ("train", "test"))
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    assert (len(train), len(test)) == (60_000, 10_000)
    counts = torch.bincount(train.cond["label"])
    if name == "fashion":
        assert counts.tolist() == [6000] * 10
    else:  # as Wikipedia and LeCun's own table have them
        assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    measured = data.Scale.to_unit_range(train)
    mean, std = {"mnist": (0.1307, 0.3081), "fashion": (0.2860, 0.3530)}[name]  # in [0, 1], as commonly quoted
    # quoted for x / 255; dequantised, x + 1/2 in 256 bins: within one bin
    assert (measured.mean + 1) / 2 == pytest.approx(mean, abs=1 / 256)
    assert measured.sigma_data / 2 == pytest.approx(std, abs=1 / 256)


def test_unzipped_knows_gzip_by_its_first_bytes(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(b"content"))
    assert unzipped(tmp_path / "a") == b"content"
    (tmp_path / "a.gz").write_bytes(b"content")
    assert unzipped(tmp_path / "a.gz") == b"content"
