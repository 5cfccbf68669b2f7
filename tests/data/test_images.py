"""Folders of pictures: the bytes are those of the stated rules, and each fault names its file."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield import data

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


def only(folder, *args, **options):
    """The one picture of a folder, (C, H, W)."""
    return data.ImageFolder(folder, *args, **options).batch(torch.tensor([0])).x[0].numpy()


@pytest.fixture
def folder(tmp_path):
    """Five sound pictures in two classes, with what else lies in such folders."""
    for i, place in enumerate(["cat/1.png", "cat/deep/2.PNG", "dog/3.png", "dog/4.bmp", "dog/5.tiff"]):
        save(tmp_path / place, np.roll(NOISE, i, 0))
    (tmp_path / "cat" / "notes.txt").write_text("not looked at")
    (tmp_path / "cat" / "._1.png").write_bytes(b"not looked at")
    return tmp_path


def test_classes_are_the_first_folders_in_order(folder):
    source = data.load(folder)
    assert isinstance(source, data.Source)
    assert isinstance(source, data.ImageFolder)
    assert [p.name for p in source.files] == ["1.png", "2.PNG", "3.png", "4.bmp", "5.tiff"]
    assert (source.class_names, source.num_classes) == (("cat", "dog"), 2)
    batch = source.batch(torch.tensor([4, 0, 1]))
    assert batch.cond["label"].tolist() == [1, 0, 0]
    for x, shift in zip(batch.x, (4, 0, 1), strict=True):
        np.testing.assert_array_equal(x.permute(1, 2, 0).numpy(), np.roll(NOISE, shift, 0))
    assert data.load(folder, labels=False).num_classes is None
    save(folder / "0.png", NOISE)
    assert data.load(folder).num_classes is None  # one lies in no class


@pytest.mark.parametrize("fit", ["crop", "resize", "pad"])
@pytest.mark.parametrize("channels", [None, 1])
def test_in_memory_and_on_demand_are_the_same_bytes(folder, fit, channels):
    save(folder / "cat" / "wide.jpg", RNG.integers(0, 256, (30, 50, 3), dtype=np.uint8))
    save(folder / "dog" / "tall.webp", RNG.integers(0, 256, (40, 11), dtype=np.uint8))
    held = data.ImageFolder(folder, (9, 12), fit=fit, channels=channels, workers=3)
    read = data.ImageFolder(folder, (9, 12), fit=fit, channels=channels, workers=2, memory=0)
    assert "in memory" in repr(held)
    assert "on demand" in repr(read)
    rows = torch.tensor([6, 0, 3, 3, 5, 1, 2, 4])
    assert torch.equal(held.batch(rows).x, read.batch(rows).x)
    assert torch.equal(held.batch(rows).cond["label"], read.batch(rows).cond["label"])
    assert held.event_shape == (channels or 3, 9, 12)


def stripes(height, width):
    """Red left third, green middle, blue right, exact blocks."""
    array = np.zeros((height, width, 3), np.uint8)
    for c in range(3):
        array[:, c * width // 3 : (c + 1) * width // 3, c] = 255
    return array


def test_crop_keeps_the_centre_at_its_proportions(tmp_path):
    save(tmp_path / "a.png", stripes(40, 120))
    x = only(tmp_path, 10, fit="crop")
    # the middle third is all that is left; Lanczos reaches 3 pixels into what was cut away
    inner = x[:, :, 3:-3].astype(int)
    assert np.abs(inner - np.array([0, 255, 0])[:, None, None]).max() <= 1


def test_crop_is_scaling_all_of_it_and_cutting_out_the_centre(tmp_path):
    array = RNG.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    save(tmp_path / "a.png", array)
    whole = np.asarray(Image.fromarray(array).resize((20, 10), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(only(tmp_path, 10), whole[:, 5:15].transpose(2, 0, 1))


def test_resize_stretches(tmp_path):
    save(tmp_path / "a.png", stripes(40, 120))
    x = only(tmp_path, (10, 30), fit="resize")
    assert [int(x[c, 5, 10 * c + 5]) for c in range(3)] == [255, 255, 255]
    assert only(tmp_path, 9, fit="resize").shape == (3, 9, 9)


def test_pad_keeps_everything_and_adds_black(tmp_path):
    save(tmp_path / "a.png", np.full((20, 40), 200, np.uint8))
    x = only(tmp_path, 16, fit="pad")[0]
    assert (x[4:12] == 200).all()
    assert (x[:4] == 0).all()
    assert (x[12:] == 0).all()


def test_shrinking_is_antialiased(tmp_path):
    save(tmp_path / "a.png", (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    x = only(tmp_path, 16)[0, 2:-2, 2:-2].astype(int)
    assert abs(x - 127.5).max() < 1  # a checkerboard finer than the pixels is grey; picking pixels would give 0 and 255


@pytest.mark.parametrize("policy", [{}, {"size": (6, 9), "fit": "pad", "channels": 1}], ids=["as it is", "fitted"])
def test_one_picture_is_a_folder_of_one(tmp_path, policy):
    path = save(tmp_path / "a.PNG", NOISE)
    source = data.load(path, **policy)
    assert (len(source), source.levels, source.num_classes) == (1, 256, None)
    np.testing.assert_array_equal(source.batch(torch.tensor([0])).x[0], only(tmp_path, **policy))
    with pytest.raises(ValueError, match="no policy 'labels' for such data"):
        data.load(path, labels=False)


def test_sizes_differ_and_none_is_given(tmp_path):
    for i, shape in enumerate([(8, 8), (8, 8), (6, 9)]):
        save(tmp_path / f"{i}.png", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"several sizes: 2 are 8 x 8, 1 are 6 x 9$"):
        data.ImageFolder(tmp_path)
    assert data.ImageFolder(tmp_path, (4, 5)).event_shape == (1, 4, 5)


# ---- kinds of pictures: what the bytes become


def png16(array, clear=None):
    """A 16-bit PNG, grey or colour, written by hand; the grey `clear` is transparent."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if array.ndim == 3 else 0, 0, 0, 0)
    key = () if clear is None else ((b"tRNS", struct.pack(">H", clear)),)
    parts = ((b"IHDR", header), *key, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_16_bit_grey_is_rounded(tmp_path):
    values = np.arange(65536).reshape(256, 256)
    (tmp_path / "a.png").write_bytes(png16(values))
    source = data.ImageFolder(tmp_path)
    assert (source.event_shape, source.levels) == ((1, 256, 256), 256)
    np.testing.assert_array_equal(only(tmp_path)[0], np.floor(values / 257 + 0.5))
    assert only(tmp_path, channels=3).shape == (3, 256, 256)


def test_the_transparent_grey_of_16_bits_is_white(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(np.array([[1000, 1001]]), clear=1000))
    assert only(tmp_path)[0].tolist() == [[255, 4]]


def test_16_bit_colour_is_within_one_level(tmp_path):
    values = RNG.integers(0, 65536, (16, 16, 3))
    (tmp_path / "a.png").write_bytes(png16(values))
    assert np.abs(only(tmp_path).transpose(1, 2, 0) - values / 257).max() < 1


def test_cmyk_becomes_rgb(tmp_path):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255  # all cyan
    save(tmp_path / "a.jpg", Image.fromarray(inks, "CMYK"), quality=100)
    x = only(tmp_path).astype(int)
    assert np.abs(x - np.array([0, 255, 255])[:, None, None]).max() <= 2  # JPEG rounds


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = np.kron(np.array([[0, 80, 160], [240, 40, 200]], np.uint8), np.ones((16, 16), np.uint8))
    stored = {  # how a camera held that way stores it: EXIF 2.32, tag 0x0112
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.jpg", np.ascontiguousarray(stored), exif=exif, quality=100)
    x = only(tmp_path)[0].astype(int)  # without a size: it is that of the upright picture
    assert x.shape == (32, 48)
    assert np.abs(x - upright).max() <= 2


def test_transparency_is_laid_over_white(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    save(tmp_path / "palette" / "a.png", palette, transparency=0)
    x = only(tmp_path / "palette")
    assert x[:, 0, 0].tolist() == [255, 255, 255]
    assert x[:, 1, 1].tolist() == [255, 0, 0]
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 3] = 51  # black, 20% opaque
    save(tmp_path / "rgba" / "a.png", rgba)
    assert (only(tmp_path / "rgba") == 204).all()
    save(tmp_path / "la" / "a.png", Image.fromarray(rgba[..., 2:], "LA"))
    assert (only(tmp_path / "la") == 204).all()
    assert only(tmp_path / "la").shape == (1, 4, 4)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("L", (4, 4), grey) for grey in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (only(tmp_path, channels=1) == 40).all()


@pytest.mark.parametrize(("channels", "expected"), [(1, [[76]]), (3, [[255], [0], [0]])])
def test_red_in_grey_is_its_luma(tmp_path, channels, expected):
    save(tmp_path / "a.png", np.full((1, 1, 3), (255, 0, 0), np.uint8))  # 0.299 x 255 = 76.2
    assert only(tmp_path, channels=channels)[:, 0].tolist() == expected


# ---- faults: each names its file; 'skip' leaves it out and says so once


def truncated(path):
    save(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt(path):
    save(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


def bomb(path):
    """A small file whose header promises 60,000 x 60,000 pixels."""
    whole = png16(np.zeros((1, 1), int))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:])


FAULTS = {
    "truncated.png": (truncated, "truncated"),
    "truncated.jpg": (truncated, "truncated"),
    "corrupt.png": (corrupt, ""),
    "empty.png": (lambda p: p.write_bytes(b""), "the file is empty"),
    "text.png": (lambda p: p.write_text("hello"), "no picture in a known format"),
    "huge.png": (bomb, "more than 64,000,000 pixels"),
    "large.png": (lambda p: save(p, np.zeros((8000, 8001), bool)), "8000 x 8001 is more than 64,000,000 pixels"),
    "float.tiff": (lambda p: save(p, np.zeros((4, 4), np.float32)), "pixels of kind F; expected grey or colour"),
    "wide.tiff": (lambda p: save(p, np.full((4, 4), 70_000, np.int32)), "values 70000..70000; expected 16 bits"),
    "script.jpg": (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "known format"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_faults_are_refused_by_name_or_skipped_with_one_warning(folder, name, memory):
    make, reason = FAULTS[name]
    bad = folder / "cat" / f"0-{name}"  # the first: the others must move up
    make(bad)
    rows = torch.arange(5)
    with pytest.raises(ValueError, match=name) as caught:
        data.ImageFolder(folder, 8, memory=memory).batch(torch.arange(6))
    assert str(bad) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        source = data.ImageFolder(folder, 8, memory=memory, on_error="skip")
        x = source.batch(rows).x
    assert len(caught_warnings) == 1, [str(w.message) for w in caught_warnings]
    assert str(caught_warnings[0].message).startswith(f"skipped 1 of 6 pictures: {bad}: ")
    assert (len(source), len(source.skipped)) == (5, 1)
    bad.unlink()
    assert torch.equal(x, data.ImageFolder(folder, 8).batch(rows).x)  # the others, with their own bytes


def test_the_warning_counts_all_and_names_the_first(folder):
    for i in range(7):
        (folder / "cat" / f"bad{i}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped 7 of 12 pictures") as caught:
        data.ImageFolder(folder, 8, on_error="skip")
    assert "bad4.png" in str(caught[0].message)
    assert str(caught[0].message).endswith("; and 2 more")


def test_a_limit_of_ones_own(folder):
    with pytest.raises(ValueError, match="8 x 8 is more than 63 pixels: raise max_pixels"):
        data.ImageFolder(folder, max_pixels=63)
    assert len(data.ImageFolder(folder, max_pixels=64)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "stretch"}, "fit must be one of 'crop', 'resize', 'pad'; got 'stretch'"),
        ({"channels": 2}, "channels must be one of 1, 3, None; got 2"),
        ({"on_error": "ignore"}, "on_error must be one of 'raise', 'skip'"),
        ({"size": 0}, "size must be at least 1; got 0"),
    ],
)
def test_policies_that_do_not_exist(folder, options, message):
    with pytest.raises(ValueError, match=message):
        data.ImageFolder(folder, **options)


def test_folders_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.ImageFolder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"expected pictures \(\.png, .*\); got none"):
        data.load(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 1 pictures is usable: .*a\.png: the file is empty"):
        data.load(tmp_path, on_error="skip")
    with pytest.raises(ValueError, match="expected a folder of pictures; got a file"):
        data.ImageFolder(tmp_path / "a.png")
