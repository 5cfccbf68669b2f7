"""Arrays and idx files: what is read is what was written, and what cannot be read says so in one line."""

import gzip
import pickle
import re
import struct

import numpy as np
import pytest
import torch

from scorefield import data
from scorefield.data.idx import read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 2], np.uint8)


def idx(array, code=0x08):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def refusal(path, **policy):
    """The one line, which names the file."""
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        data.load(path, **policy)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("array", "layout", "shape"),
    [
        (IMAGES, None, (1, 4, 6)),
        (IMAGES, "as-is", (4, 6)),
        (IMAGES, "HW", (1, 4, 6)),
        (IMAGES[..., None].repeat(3, -1), "HWC", (3, 4, 6)),
        (IMAGES.astype(np.uint16) * 257, "HW", (1, 4, 6)),
        (IMAGES.astype(">f8"), None, (1, 4, 6)),
        (np.asfortranarray(IMAGES), "CL", (4, 6)),
    ],
)
def test_npy_round_trip(tmp_path, array, layout, shape):
    np.save(tmp_path / "a.npy", array)
    source = data.load(tmp_path / "a.npy", layout=layout)
    assert source.event_shape == shape
    assert source.levels == {"uint8": 256, "uint16": 65536}.get(array.dtype.name)
    expected = np.moveaxis(array, -1, 1) if layout == "HWC" else array.reshape(5, *shape)
    np.testing.assert_array_equal(source.batch(torch.arange(5)).x.numpy(), expected)


def test_npz_takes_the_named_array_or_the_obvious_one(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES, label=LABELS)
    source = data.load(path, layout="HW")
    assert source.num_classes == 3
    assert source.batch(torch.arange(5)).cond["label"].tolist() == LABELS.tolist()
    np.savez_compressed(path, x=IMAGES, other=IMAGES[:2], y=LABELS)
    assert len(data.load(path)) == 5
    assert len(data.load(path, key="other")) == 2
    assert data.load(path, label="y").num_classes == 3
    assert "no array 'z'; there are x, other, y" in refusal(path, key="z")
    np.savez(path, a=IMAGES, b=IMAGES)
    assert (
        "several arrays, a, b, and none is called x, images, data, arr_0: choose one with key; or if each is a series"
        in refusal(path)
    )


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "raw.npy"])
def test_pickles_are_never_loaded(tmp_path, name):
    path = tmp_path / name
    objects = np.array([Bomb()], dtype=object)
    if name == "raw.npy":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        (np.save if name == "a.npy" else np.savez)(path, objects)
    assert "pickles are never loaded" in refusal(path).lower()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a-images-idx3-ubyte", "a-images-idx3-ubyte.gz"])
@pytest.mark.parametrize("keep", [0, 1, 3, 20, -1])
def test_truncated_files_are_refused(tmp_path, name, keep):
    path = tmp_path / name
    if name.endswith("z") and "idx" not in name:
        np.savez(path, IMAGES)
    elif name == "a.npy":
        np.save(path, IMAGES)
    else:
        path.write_bytes(gzip.compress(idx(IMAGES)) if name.endswith(".gz") else idx(IMAGES))
    path.write_bytes(path.read_bytes()[:keep])
    refusal(path)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path):
    path = tmp_path / "a-images-idx3-ubyte.gz"
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert "damaged gzip data" in refusal(path)


@pytest.mark.parametrize("images", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx3-ubyte.gz"])
@pytest.mark.parametrize("zipped_labels", [False, True])
def test_idx_images_find_their_labels(tmp_path, images, zipped_labels):
    pack = gzip.compress if images.endswith(".gz") else bytes
    (tmp_path / images).write_bytes(pack(idx(IMAGES)))
    source = data.load(tmp_path / images)
    assert source.num_classes is None
    name = images.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if zipped_labels:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(LABELS)))
    else:
        (tmp_path / name).write_bytes(idx(LABELS))
    batch = data.load(tmp_path / images).batch(torch.arange(5))
    np.testing.assert_array_equal(batch.x.numpy(), IMAGES[:, None])
    assert batch.cond["label"].tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("code", "kind"), [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_numbers_of_every_type(tmp_path, code, kind):
    array = np.array([[1, 2, 3], [100, 5, 6]], kind)
    (tmp_path / "a.idx").write_bytes(idx(array, code))
    read = read_idx(tmp_path / "a.idx")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.idx", b"PK\x03\x04", "got 50 4b 03 04"),
        ("a.idx", bytes([0, 0, 8, 2, 0, 0, 0, 1]), "header of 2 dimensions needs 12 bytes; got 8"),
        ("a.idx", idx(IMAGES)[:-1], r"(5, 4, 6) needs 136 bytes; got 135"),
        ("a.idx", idx(IMAGES) + b"x", r"(5, 4, 6) needs 136 bytes; got 137"),
        ("a.npy", b"not an array", "not a NumPy array"),
        ("a.npz", b"not an archive", "not a NumPy archive"),
        ("a.txt", b"1,2", "expected .npy, .npz, .csv, .tsv, .parquet, an idx file, a picture or a folder"),
    ],
)
def test_other_content_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name)


def test_arrays_that_are_not_data_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for array, message in [
        (np.array(["a"]), "expected one array of real numbers (N, ...); got <U1"),
        (np.zeros(3, complex), "complex128 of shape (3,)"),
        (np.float64(1), "float64 of shape ()"),
        (np.array([[np.inf]]), "finite in float32; 1 entries"),
        (np.zeros((0, 2)), "not empty"),
    ]:
        np.save(path, array)
        assert message in refusal(path)
    np.save(path, IMAGES)
    assert "layout HWC needs 4 dimensions; got shape (5, 4, 6)" in refusal(path, layout="HWC")
    assert "no policy 'size' for such data; there are levels, layout" in refusal(path, size=3)
    (tmp_path / "b.npz").write_bytes(path.read_bytes())
    assert "not a NumPy archive" in refusal(tmp_path / "b.npz")  # whatever it is called


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy: no such file or folder"):
        data.load(tmp_path / "none.npy")


def test_any_choice_of_rows_is_that_of_the_array(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    source, rows = data.load(tmp_path / "a.npy", layout="as-is"), torch.tensor([4, 4, 0])
    np.testing.assert_array_equal(source.batch(rows).x.numpy(), IMAGES[rows.numpy()])
