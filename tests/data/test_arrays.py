"""Arrays without a word about their axes, names and labels: what they are taken for, and that it is said."""

import numpy as np
import pytest
import torch

from scorefield import data
from scorefield.data.arrays import fitting

BYTES, NUMBERS = np.uint8, np.float64
ANIMALS = np.array(["dog", "cat", "fish", "cat", "dog"])


@pytest.fixture
def read(tmp_path):
    """`read(array)` or `read(name=array, ...)`: what `load` makes of the file, and what it says, less the path."""

    def load(array=None, policy=None, **arrays):
        path = tmp_path / ("a.npz" if arrays else "a.npy")
        if arrays:
            np.savez(path, **arrays)
        else:
            assert array is not None
            np.save(path, array)
        source = data.load(path, **(policy or {}))
        assert isinstance(source, data.Arrays)
        assert len(source.said) <= 1
        return source, source.said[0].removeprefix(f"{path}: ") if source.said else ""

    return load


def numbered(shape, kind):
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(kind)


@pytest.mark.parametrize(
    ("kind", "shape", "event", "taken"),
    [
        (BYTES, (5, 28, 28), (1, 28, 28), "pictures of one channel, (N, H, W)"),
        (NUMBERS, (5, 28, 28), (1, 28, 28), "pictures of one channel, (N, H, W)"),
        (BYTES, (5, 64, 3), (1, 64, 3), "pictures of one channel, (N, H, W)"),  # bytes are pictures
        (NUMBERS, (5, 64, 3), (3, 64), "series, channels last, (N, L, C)"),
        (NUMBERS, (5, 3, 64), (3, 64), "series, channels first, (N, C, L)"),
        (NUMBERS, (5, 1, 64), (1, 64), ""),
        (NUMBERS, (5, 64), (64,), ""),
        (NUMBERS, (5,), (), ""),
        (BYTES, (5, 8, 6, 3), (3, 8, 6), "pictures, channels last, (N, H, W, C)"),
        (BYTES, (5, 8, 6, 4), (4, 8, 6), "pictures, channels last, (N, H, W, C)"),
        (NUMBERS, (5, 8, 6, 1), (1, 8, 6), "pictures, channels last, (N, H, W, C)"),
        (BYTES, (5, 3, 8, 6), (3, 8, 6), ""),
        (BYTES, (5, 3, 8, 4), (3, 8, 4), "pictures, channels first, (N, C, H, W)"),
        (NUMBERS, (5, 16, 8, 8), (16, 8, 8), ""),
    ],
)
def test_axes_are_guessed_aloud(read, kind, shape, event, taken):
    array = numbered(shape, kind)
    source, said = read(array)
    assert source.event_shape == event
    moved = np.moveaxis(array, -1, 1) if "channels last" in taken else array
    np.testing.assert_array_equal(source.batch(torch.arange(5)).x.numpy().ravel(), moved.ravel())
    name = np.dtype(kind).name
    assert said == (f"{name} {shape}, taken for {taken}. --layout says otherwise" if taken else "")


@pytest.mark.parametrize(
    ("layout", "shape", "event"),
    [
        ("HW", (5, 6, 3), (1, 6, 3)),
        ("CL", (5, 28, 28), (28, 28)),
        ("LC", (5, 28, 2), (2, 28)),
        ("L", (5, 28), (1, 28)),
        ("HWC", (5, 3, 8, 5), (5, 3, 8)),
        ("CHW", (5, 8, 8, 3), (8, 8, 3)),
        ("as-is", (5, 28, 28), (28, 28)),
    ],
)
def test_what_is_said_is_not_guessed(read, layout, shape, event):
    source, said = read(numbered(shape, BYTES), {"layout": layout})
    assert (source.event_shape, said) == (event, "")
    if layout != "as-is":
        assert fitting(shape, event) in (layout, "as-is")


def test_wrong_layouts(read):
    with pytest.raises(ValueError, match=r"layout must be one of HW, HWC, CHW, L, LC, CL, as-is; got 'WH'"):
        read(numbered((5, 4, 4), BYTES), {"layout": "WH"})
    with pytest.raises(ValueError, match=r"a.npy: layout LC needs 3 dimensions; got shape \(5, 4\)"):
        read(numbered((5, 4), BYTES), {"layout": "LC"})


def test_the_layout_that_fits_known_events():
    assert fitting((5, 28, 28), (1, 28, 28)) == "HW"
    assert fitting((5, 28, 28), (28, 28)) == "as-is"
    assert fitting((5, 28, 28, 3), (3, 28, 28)) == "HWC"
    assert fitting((5, 64), (1, 64)) == "L"
    assert fitting((5, 64, 3), (3, 64)) == "LC"
    assert fitting((5, 64, 3), (4, 64)) is None


@pytest.mark.parametrize("key", ["images", "x", "X", "data", "arr_0", "raw", "pixels"])
@pytest.mark.parametrize("label", ["labels", "label", "y"])
def test_usual_names_are_read_without_flags(read, key, label):
    source, said = read(**{key: numbered((5, 4, 4), BYTES), label: ANIMALS})
    assert source.class_names == ("cat", "dog", "fish")
    assert source.batch(torch.arange(5)).cond["label"].tolist() == [1, 0, 2, 0, 1]
    assert said == (
        f"uint8 (5, 4, 4), the data are {key!r}; the labels are {label!r}, 3 classes: cat, dog, fish; taken for "
        "pictures of one channel, (N, H, W). --key, --label-column and --layout say otherwise"
    )


def test_other_arrays_are_named_and_what_is_asked_for_is_not_said(read):
    arrays = {"images": numbered((5, 3), NUMBERS), "ids": np.arange(5), "y": np.arange(5) % 2}
    said = read(**arrays)[1]
    assert said == (
        "float64 (5, 3), the data are 'images' (ids not read); the labels are 'y', 2 classes. --key and "
        "--label-column say otherwise"
    )
    source, said = read(policy={"key": "images", "label": "ids"}, **arrays)
    assert (source.num_classes, said) == (5, "")


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        (np.array([2, 0, 1, 0, 2]), [2, 0, 1, 0, 2], ()),
        (np.array([2.0, 0, 1, 0, 2]), [2, 0, 1, 0, 2], ()),
        (np.array([[2], [0], [1], [0], [2]], np.uint8), [2, 0, 1, 0, 2], ()),
        (np.array([True, False, True, True, False]), [1, 0, 1, 1, 0], ()),
        (np.array([-1, 1, 1, -1, 1]), [0, 1, 1, 0, 1], ("-1", "1")),
        (np.eye(3)[[2, 0, 1, 0, 2]], [2, 0, 1, 0, 2], ()),
        (ANIMALS, [1, 0, 2, 0, 1], ("cat", "dog", "fish")),
        (ANIMALS.astype("S"), [1, 0, 2, 0, 1], ("cat", "dog", "fish")),
        (np.array(["2024-01-02", "2024-01-01"] * 2 + ["2024-01-02"], "M8[D]"), [1, 0, 1, 0, 1],
         ("2024-01-01", "2024-01-02")),
    ],
)  # fmt: skip
def test_labels_of_any_type(read, labels, classes, names):
    source, _ = read(x=numbered((5, 3), NUMBERS), labels=labels)
    assert source.batch(torch.arange(5)).cond["label"].tolist() == classes
    assert source.class_names == names


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.array([0.5, 1, 2, 3, 4]), "y: labels must be classes, whole numbers or text; got 0.5"),
        (np.ones((5, 2)), "y: labels must be (N,), one for each row, or one-hot; got shape (5, 2)"),
        (np.arange(4), "it has 4 entries"),
    ],
)
def test_what_is_no_label_is_left_aside_unless_asked_for(read, labels, why):
    source, said = read(x=numbered((5, 3), NUMBERS), y=labels)
    assert source.num_classes is None
    assert f"'y' is left aside ({why})" in said
    with pytest.raises(ValueError, match=r"a.npz.*label"):
        read(x=numbered((5, 3), NUMBERS), y=labels, policy={"label": "y"})


def test_text_as_python_objects_says_how_to_save_it(read):
    with pytest.raises(ValueError, match=r"array 'y': holds Python objects, .* or text as text, a.astype\(str\)"):
        read(x=numbered((5, 3), NUMBERS), y=ANIMALS.astype(object))
